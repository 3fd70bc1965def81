"""A day of a large company: 2 million invoices in uploads of 100. Runs uploads through the gateway against the simulated
platform at the highest rate that this machine gives, and extrapolates."""

import argparse
import json
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import build
from gateway import RunningGateway
from processes import CORES, Failure, Process, free_port, stop_all

DAY = 2_000_000
MEMORY_MB = 300
CONFIG = """
[[listen]]
address = "127.0.0.1:0"
certificates = [{{ chain = "certs/server.pem", key = "certs/server.key" }}]
[admin]
address = "127.0.0.1:0"
[ops]
address = "127.0.0.1:0"
[[upstream]]
name = "leqi"
base_url = "https://lqpt.chinatax.gov.cn:{port}"
ca_file = "platform/ca.pem"
addresses = ["127.0.0.1:{port}"]
[[route]]
prefix = "/access/"
upstream = "leqi"
[store]
url = "sqlite://gateway.db"
[secrets]
master_key_file = "master.key"
[log]
filter = "warn"
"""


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="scripts/day", description=__doc__, epilog=(
        "Example: scripts/day --seconds 60. The result, a Markdown table, goes to standard output; the exit code is 1 when an "
        f"invoice is missing or the gateway took {MEMORY_MB} MB or more."))
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="how long the load lasts (default 60)")
    parser.add_argument("--connections", type=int, default=8, metavar="N", help="connections of the invoicing system (default 8)")
    parser.add_argument("--gateway", type=Path, metavar="FILE", help="use this binary instead of building one")
    parser.add_argument("--load", type=Path, metavar="FILE", help="use this load generator instead of building one")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="where files are kept while it runs (default target/)")
    return parser.parse_args()


def start(binary: Path, directory: Path) -> tuple[Process, RunningGateway]:
    """The simulated platform with more credit than is needed, and the gateway with all companies."""
    port = free_port()
    platform = Process.start("simulator", [binary, "simulate", "--listen", f"127.0.0.1:{port}", "--dir", "platform",
                                           "--credit", "90000000"], directory, set(CORES))
    platform.wait_for_port(port)
    units = directory / "platform" / "units.json"
    platform.wait_for("it described its companies", units.exists)
    made = subprocess.run([binary, "certs", "init", "--dir", "certs", "--ip", "127.0.0.1"], cwd=directory, capture_output=True,
                          text=True, check=False)
    if made.returncode != 0:
        raise Failure(made.stderr)
    gateway = RunningGateway("gateway", binary, directory, CONFIG.format(port=port), set(CORES))
    gateway.register(json.loads(units.read_text(encoding="utf-8")))
    return platform, gateway


def stored_bytes(directory: Path) -> int:
    """The database with its log of what is to be written."""
    return sum(file.stat().st_size for file in directory.glob("gateway.db*"))


def measure(chosen: argparse.Namespace, directory: Path) -> dict:
    """One run; its figures."""
    built = {} if chosen.gateway and chosen.load else build.binaries()
    binary = (chosen.gateway or built["leqi-gateway"]).resolve()
    load = (chosen.load or built["load"]).resolve()
    platform, gateway = start(binary, directory)
    command = [load, "day", "--address", f"127.0.0.1:{gateway.port}", "--ca", "certs/ca.pem", "--units", "platform/units.json",
               "--seconds", chosen.seconds, "--connections", chosen.connections]
    generator = Process.start("load", command, directory, set(CORES), stdout=subprocess.PIPE)
    if generator.popen.stdout.readline().strip() != b"started":
        raise Failure(f"the load did not start: {generator.last_words()}")
    before = {process.name: process.cpu_us() for process in (gateway.process, platform)}
    size = stored_bytes(directory)
    told = generator.popen.stdout.read()
    if generator.popen.wait() != 0:
        raise Failure(f"the load failed: {generator.last_words()}")
    figures = json.loads(told)
    figures["cpu_us"] = gateway.process.cpu_us() - before["gateway"]
    figures["platform_cpu_us"] = platform.cpu_us() - before["simulator"]
    figures["peak_mb"] = gateway.process.memory_kb("VmHWM") / 1024
    figures["stored"] = stored_bytes(directory) - size
    figures["booked"] = int(gateway.metric("quota_issued_invoices_total"))
    return figures


def table(figures: dict, connections: int) -> str:
    """The figures as Markdown, with what a day of them comes to."""
    invoices, seconds = figures["invoices"], figures["seconds"]
    rate = invoices / seconds
    cpu = figures["cpu_us"] / invoices
    machine = build.machine()
    rows = [
        ("uploads", f"{figures['uploads']:,} of {invoices // figures['uploads']} invoices, "
                    f"{figures['bytes'] / figures['uploads'] / 1000:.0f} kB each, {connections} connections, {seconds:.0f} s"),
        ("rate, with platform and load on the same machine", f"{rate:,.0f} invoices/s"),
        ("an upload, answered", f"median {figures['upload_us']['p50'] / 1000:.0f} ms, p99 {figures['upload_us']['p99'] / 1000:.0f} ms"),
        ("CPU of the gateway, the question for results included", f"{cpu:.0f} µs/invoice, {cpu * 100 / 1000:.1f} ms per 100"),
        ("CPU of the simulated platform", f"{figures['platform_cpu_us'] / invoices:.0f} µs/invoice"),
        ("memory of the gateway at its peak", f"{figures['peak_mb']:.0f} MB (bound {MEMORY_MB} MB)"),
        ("database", f"{figures['stored'] / invoices:,.0f} bytes/invoice"),
        ("**2 million invoices**", f"{cpu * DAY / 1e6 / 60:.1f} min of one core for the gateway; {DAY / rate / 3600:.1f} h at this rate; "
                                   f"{figures['stored'] / invoices * DAY / 1e9:.1f} GB of database"),
    ]
    lines = [f"{date.today()}, commit {build.commit()}, {machine['cpu']}, {machine['cores']} cores, {machine['kernel']}", "",
             "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(lines)


def main() -> int:
    """Runs, prints the table, and says by its exit code whether all is well."""
    chosen = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parent = chosen.dir or build.ROOT / "target"
    parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="day-", dir=parent))
    try:
        figures = measure(chosen, directory)
        print(table(figures, chosen.connections))
        wrong = []
        if figures["issued"] != figures["invoices"] or figures["booked"] != figures["invoices"]:
            wrong.append(f"{figures['invoices']} uploaded, {figures['issued']} issued, {figures['booked']} booked as issued")
        if figures["peak_mb"] >= MEMORY_MB:
            wrong.append(f"the gateway took {figures['peak_mb']:.0f} MB")
        for line in wrong:
            print(f"scripts/day: {line}", file=sys.stderr)
        return 1 if wrong else 0
    except Failure as failure:
        print(f"scripts/day: {failure}", file=sys.stderr)
        return 1
    finally:
        stop_all()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
