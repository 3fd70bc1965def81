"""Runs the gateway at full speed against a simulated platform that fails at random, with clients that leave, then compares
what the clients, the gateway's metrics, its request log and the platform say of every call."""

import argparse
import json
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import build
import verdict
from gateway import RunningGateway
from measure import progress
from processes import CORES, Failure, Process, free_port, stop_all
from watch import FaultScripts, Follower, Platform, Sampler

FREE_GB_PER_MINUTE = 0.6
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
response_timeout = "2s"
body_timeout = "2s"
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
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__, epilog=(
        "Example: scripts/soak --minutes 15. Progress goes to standard error, the verdict, a Markdown table, to standard "
        "output; the exit code is 1 when something is wrong."))
    parser.add_argument("--minutes", type=float, default=15, metavar="N", help="how long the load lasts (default 15)")
    parser.add_argument("--seed", type=int, default=int(time.time()), metavar="N",
                        help="the same seed makes the same faults and calls, as far as time allows")
    parser.add_argument("--gateway", type=Path, metavar="FILE", help="use this binary instead of building one")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="where files are kept while it runs (default target/)")
    parser.add_argument("--keep", action="store_true", help="leave logs and database behind")
    return parser.parse_args()


def start_platform(binary: Path, directory: Path) -> Platform:
    """The simulated platform with a directory for what it describes."""
    port = free_port()
    process = Process.start("simulator", [binary, "simulate", "--listen", f"127.0.0.1:{port}", "--dir", "platform"], directory,
                            set(CORES))
    process.wait_for_port(port)
    units = directory / "platform" / "units.json"
    process.wait_for("it described its companies", units.exists)
    context = ssl.create_default_context(cafile=directory / "platform" / "ca.pem")
    return Platform(port, context, json.loads(units.read_text(encoding="utf-8")))


def start_gateway(binary: Path, directory: Path, platform: Platform) -> RunningGateway:
    """The gateway with its own certificate and all companies."""
    made = subprocess.run([binary, "certs", "init", "--dir", "certs", "--ip", "127.0.0.1"], cwd=directory, capture_output=True,
                          text=True, check=False)
    if made.returncode != 0:
        raise Failure(made.stderr)
    gateway = RunningGateway("soak", binary, directory, CONFIG.format(port=platform.port), set(CORES))
    gateway.register(platform.units)
    return gateway


def load(binary: Path, directory: Path, gateway: RunningGateway, chosen: argparse.Namespace) -> Process:
    """The invoicing systems, once all have credit."""
    command = [binary, "soak", "--address", f"127.0.0.1:{gateway.port}", "--ca", "certs/ca.pem", "--units", "platform/units.json",
               "--out", "calls.txt", "--seconds", round(chosen.minutes * 60), "--seed", chosen.seed]
    process = Process.start("load", command, directory, set(CORES), stdout=subprocess.PIPE)
    if process.popen.stdout.readline().strip() != b"started":
        raise Failure(f"the load did not start: {process.last_words()}")
    return process


def settle(gateway: RunningGateway, platform: Platform) -> None:
    """Waits until nothing is under way any more: what is stuck shows up in the verdict."""
    platform.script([])
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        quiet = not gateway.metric("requests_in_flight") and not gateway.metric("connections", listener="data")
        if quiet and not gateway.metric("request_log_queued_bytes"):
            break
        time.sleep(0.2)


def soak(chosen: argparse.Namespace, directory: Path) -> list[verdict.Line]:
    """One run; the lines of its verdict."""
    built = build.binaries()
    binary = (chosen.gateway or built["leqi-gateway"]).resolve()
    platform = start_platform(binary, directory)
    gateway = start_gateway(binary, directory, platform)
    follower, sampler = Follower(platform), Sampler(gateway)
    generator = load(built["load"], directory, gateway, chosen)
    faults = FaultScripts(platform, chosen.seed)
    end = time.monotonic() + chosen.minutes * 60 + 60
    try:
        while generator.popen.poll() is None:
            if time.monotonic() > end:
                raise Failure("the load does not end: a call of it is stuck")
            for watcher in (faults, follower, sampler):
                watcher.check()
            time.sleep(10)
            progress(f"{sampler.seconds():5.0f} s: {follower.received:,} calls at the platform, {faults.count} scripts of faults, "
                     f"gateway {sampler.last_mb():.1f} MB")
    finally:
        faults.stop()
    if generator.popen.returncode != 0:
        raise Failure(f"the load failed: {generator.last_words()}")
    told = json.loads(generator.popen.stdout.read())
    sampler.stop()
    settle(gateway, platform)
    metrics = gateway.metrics()
    gateway.process.stop()
    # until then the gateway's jobs may ask the platform for something
    follower.finish()
    facts = verdict.Facts(told, directory / "calls.txt", metrics, directory / "gateway.db", follower, sampler,
                          gateway.process.popen.returncode)
    return verdict.judge(facts)


def main() -> int:
    """Runs, prints the verdict, and says by its exit code whether all is well."""
    chosen = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parent = chosen.dir or build.ROOT / "target"
    parent.mkdir(parents=True, exist_ok=True)
    wanted = chosen.minutes * FREE_GB_PER_MINUTE
    if shutil.disk_usage(parent).free < wanted * 1e9:
        raise Failure(f"{parent} has less than {wanted:.0f} GB left: give another place with --dir")
    directory = Path(tempfile.mkdtemp(prefix="soak-", dir=parent)).resolve()
    with ExitStack() as stack:
        if not chosen.keep:
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
        stack.callback(stop_all)
        lines = soak(chosen, directory)
    print(f"soak of {chosen.minutes:g} minutes, seed {chosen.seed}, commit {build.commit()}\n\n{verdict.table(lines)}")
    return 0 if all(line.right for line in lines) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"scripts/soak: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
