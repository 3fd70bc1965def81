"""Measures the gateway beside nginx, nginx with lua and HAProxy on this machine (docs/performance.md)."""

import argparse
import datetime
import json
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import build
import goals as goals_of
import report
from measure import Meter, progress
from platform_side import make_certificates, start_platform, write_calls
from processes import PROXY_CORES, Failure, allow_open_files, stop_all
from proxies import Gateway, GatewayCapture, GatewayForward, HAProxy, Nginx, NginxLua, Proxy

PARTS = ("throughput", "uploads", "latency", "memory")
RATE = 2000
IDLE_CONNECTIONS = 10_000
# HAProxy wants two for each of the connections that it is told to take
OPEN_FILES = 19_900
TITLES = {
    "throughput": "As fast as 64 connections go: POST of 4 KiB, answer of 1 KiB, calls that only ask",
    "uploads": "As fast as 64 connections go: uploads of one invoice, 4 KiB, the credit reserved and everything committed",
    "latency_reads": f"{RATE:,} calls a second that only ask",
    "latency_uploads": f"{RATE:,} uploads a second",
}


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, epilog=(
        "Example: scripts/bench --quick --json target/bench.json. Progress goes to standard error, the result, a "
        "Markdown page, to standard output. Nothing else should run on the machine."))
    parser.add_argument("--quick", action="store_true", help="shorter and fewer rounds: within three minutes after the build")
    parser.add_argument("--rounds", type=int, metavar="N", help="alternating rounds (default 7; with --quick 3)")
    parser.add_argument("--seconds", type=int, metavar="N", help="seconds of each round (default 5; with --quick 2)")
    parser.add_argument("--only", metavar="PART,…", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure to this file")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a goal is missed")
    parser.add_argument("--gateway", type=Path, metavar="FILE", help="measure this binary instead of building one")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="where files are kept while it runs (default target/)")
    chosen = parser.parse_args()
    chosen.rounds = chosen.rounds or (3 if chosen.quick else 7)
    chosen.seconds = chosen.seconds or (2 if chosen.quick else 5)
    chosen.parts = chosen.only.split(",")
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return chosen


class Bench:
    """One run: what was asked for, what was found."""

    def __init__(self, chosen: argparse.Namespace, directory: Path) -> None:
        self.chosen, self.directory = chosen, directory
        built = build.binaries()
        Gateway.binary = (chosen.gateway or built["leqi-gateway"]).resolve()
        self.meter = Meter(directory, built["load"])
        self.loads: dict = {}
        self.idle: dict[str, float] = {}
        self.goals: list[goals_of.Goal] = []
        make_certificates(directory)
        write_calls(directory)
        _, self.port = start_platform(directory)

    def start(self, kind: type[Proxy], name: str | None = None) -> Proxy:
        """Starts a proxy."""
        return kind(self.directory, self.port, name or kind.name)

    def alternate(self, load: str, proxies: list[Proxy], one) -> dict:
        """One kind of load on these proxies."""
        self.loads[load] = self.meter.alternate(proxies, self.chosen.rounds, self.chosen.seconds, load, one)
        return self.loads[load]

    def run(self) -> None:
        """Every part that was asked for."""
        meter, parts = self.meter, self.chosen.parts
        proxies = [self.start(kind) for kind in (Nginx, NginxLua, HAProxy, GatewayForward, GatewayCapture)]
        both = [proxies[0], proxies[-1]]
        if "throughput" in parts:
            self.goals += goals_of.of_throughput(
                self.alternate("throughput", proxies, lambda proxy, seconds: meter.wrk(proxy, seconds)))
        if "uploads" in parts:
            self.goals += goals_of.of_uploads(self.alternate(
                "uploads", both, lambda proxy, seconds: meter.steady(proxy, seconds, uploads=True)))
        if "latency" in parts:
            reads = self.alternate("latency_reads", [proxies[0], *proxies[3:]],
                                   lambda proxy, seconds: meter.steady(proxy, seconds, RATE))
            uploads = self.alternate("latency_uploads", both,
                                     lambda proxy, seconds: meter.steady(proxy, seconds, RATE, uploads=True))
            self.goals += goals_of.of_latency(reads, uploads)
        if "memory" in parts:
            self.measure_memory()

    def measure_memory(self) -> None:
        """Idle connections, each proxy fresh."""
        kinds = [GatewayCapture] if self.chosen.quick else [Nginx, HAProxy, GatewayCapture]
        for kind in kinds:
            proxy = self.start(kind, f"{kind.name}-idle")
            connections = min(IDLE_CONNECTIONS, kind.most_connections)
            self.idle[kind.name] = self.meter.idle(proxy, connections, first_call=True)
            progress(f"memory: {kind.name:16} {self.idle[kind.name]:.1f} kB for each of {connections:,} idle connections")
            proxy.process.stop()
        self.goals += goals_of.of_memory(self.idle)

    def page(self, about: dict) -> str:
        """The Markdown page."""
        what = {kind.name: kind.what for kind in (Nginx, NginxLua, HAProxy, GatewayForward, GatewayCapture)}
        parts = [f"{about['date']}, commit {about['commit']}, {about['cpu']}, {about['cores']} cores, {about['kernel']}; "
                 f"medians of {about['rounds']} alternating rounds of {about['seconds']} s"]
        for load, found in self.loads.items():
            parts.append(report.of_rounds(TITLES[load], found, what if load == "throughput" else {}))
        if self.idle:
            parts.append(report.of_idle(self.idle))
        return "\n\n".join([*parts, report.of_goals(self.goals)])


def main() -> int:
    """Runs, prints, and says by its exit code whether all is well."""
    chosen = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parent = chosen.dir or build.ROOT / "target"
    parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        stack.callback(stop_all)
        allow_open_files(OPEN_FILES)
        bench = Bench(chosen, directory.resolve())
        about = {"date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"), "commit": build.commit(),
                 "rounds": chosen.rounds, "seconds": chosen.seconds, "proxy_cores": sorted(PROXY_CORES), **build.machine()}
        bench.run()
        print(bench.page(about))
        if chosen.json:
            figures = report.data(about, bench.loads, bench.idle, bench.goals)
            chosen.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if chosen.check and not all(goal.met for goal in bench.goals) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"scripts/bench: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
