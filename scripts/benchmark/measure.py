"""One round of load against one proxy, and what it cost."""

import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from platform_side import HEADERS, READ, UPLOAD
from processes import OTHER_CORES, Failure, Process
from proxies import Proxy

# What follows a round belongs to it: connections that close, the log's last batch.
SETTLE_SECONDS = 0.3
# A connection is idle when nothing was asked on it for so long.
IDLE_SECONDS = 3


@dataclass
class Round:
    """Figures of one round; times in microseconds, memory in kB."""

    proxy: str
    requests: int
    requests_per_second: float
    cpu_us: float
    p50_us: float
    p99_us: float
    rss_kb: int
    peak_kb: int


class Meter:
    """Loads proxies and measures them."""

    def __init__(self, directory: Path, load: Path) -> None:
        self.directory = directory
        self.load = load

    def wrk(self, proxy: Proxy, seconds: float) -> Round:
        """As fast as 64 connections go, calls that only ask: `wrk -t1 -c64`."""
        command = ["wrk", "-t1", "-c64", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "-s", self.directory / "post.lua",
                   f"https://127.0.0.1:{proxy.port}{READ}"]
        return self.measured(proxy, command)

    def steady(self, proxy: Proxy, seconds: float, rate: int = 0, uploads: bool = False) -> Round:
        """64 connections at a rate, calls that only ask or uploads of one new invoice each."""
        path = UPLOAD if uploads else READ
        command = [self.load, "steady", "--address", f"127.0.0.1:{proxy.port}", "--ca", self.directory / "ca.pem", "--path",
                   path, "--expect", self.directory / f"answer-{path.rpartition('/')[2]}", "--rate", rate, "--seconds", seconds]
        command += ["--units", self.directory / "units.json"] if uploads else ["--body", self.directory / "body"]
        for name, value in (HEADERS | {"fwbm": path.rpartition("/")[2]}).items():
            command += ["--header", f"{name}:{value}"]
        return self.measured(proxy, command)

    def measured(self, proxy: Proxy, command: list) -> Round:
        """Runs a load generator and reads what the proxy spent meanwhile."""
        counted = proxy.calls_done()
        before = proxy.process.cpu_us()
        generator = Process.start("load", command, self.directory, OTHER_CORES, stdout=subprocess.PIPE)
        try:
            out, _ = generator.popen.communicate(timeout=600)
        finally:
            generator.stop()
        if generator.popen.returncode != 0:
            raise Failure(f"{proxy.name}: the load generator failed: {generator.last_words()}\n{proxy.process.last_words()}")
        memory = proxy.process.memory_kb()
        time.sleep(SETTLE_SECONDS)
        proxy.settled()
        cpu = proxy.process.cpu_us() - before
        figures = json.loads(out.decode().strip().splitlines()[-1])
        if not figures["requests"]:
            raise Failure(f"{proxy.name}: not one call was answered in time: this machine has too much else to do")
        if figures["errors"]:
            raise Failure(f"{proxy.name}: {figures['errors']} of {figures['requests']} calls failed")
        after = proxy.calls_done()
        if after is not None and after - counted < figures["requests"]:
            raise Failure(f"{proxy.name} forwarded {after - counted} calls, but {figures['requests']} were answered")
        proxy.between_rounds()
        times = figures.get("latency_us", figures)
        return Round(proxy.name, figures["requests"], figures["requests"] / figures["seconds"], cpu / figures["requests"],
                     times["p50"], times["p99"], memory, proxy.process.memory_kb("VmHWM"))

    def alternate(self, proxies: list[Proxy], rounds: int, seconds: int, title: str, one) -> dict[str, list[Round]]:
        """The same load on each proxy in turn, the order turned by one each round, after a shorter one that does not count."""
        found: dict[str, list[Round]] = {proxy.name: [] for proxy in proxies}
        for proxy in proxies:
            one(proxy, max(1, seconds // 2))
        for number in range(rounds):
            turn = number % len(proxies)
            for proxy in proxies[turn:] + proxies[:turn]:
                done = one(proxy, seconds)
                found[proxy.name].append(done)
                progress(f"{title}, round {number + 1} of {rounds}: {proxy.name:16} {done.cpu_us:7.1f} µs CPU "
                         f"{done.requests_per_second:8.0f}/s p99 {done.p99_us / 1000:7.2f} ms")
        return found

    def idle(self, proxy: Proxy, connections: int, first_call: bool) -> float:
        """kB that each idle TLS connection costs."""
        before = proxy.process.memory_kb()
        command = [self.load, "idle", "--address", f"127.0.0.1:{proxy.port}", "--ca", self.directory / "ca.pem",
                   "--connections", connections]
        if first_call:
            command += ["--request", self.directory / "request"]
        generator = Process.start("idle", command, self.directory, OTHER_CORES, stdout=subprocess.PIPE)
        try:
            line = generator.popen.stdout.readline()
            if not line.startswith(b"open"):
                raise Failure(f"{proxy.name}: {generator.last_words()}")
            proxy.settled()
            time.sleep(IDLE_SECONDS)
            return (proxy.process.memory_kb() - before) / connections
        finally:
            generator.popen.stdin.close()
            generator.popen.wait()
            generator.stop()


def progress(text: str) -> None:
    """One line for who waits."""
    print(text, file=sys.stderr, flush=True)


def medians(rounds: list[Round]) -> dict:
    """The median of each figure."""
    names = [name for name in asdict(rounds[0]) if name != "proxy"]
    return {name: statistics.median(getattr(one, name) for one in rounds) for name in names}


def ratio(above: list[Round], below: list[Round], figure: str = "cpu_us") -> float:
    """The median of the rounds' ratios: what disturbs the machine disturbs neighbours alike."""
    return statistics.median(getattr(a, figure) / getattr(b, figure) for a, b in zip(above, below, strict=True))


def difference(above: list[Round], below: list[Round], figure: str) -> float:
    """The median of the rounds' differences."""
    return statistics.median(getattr(a, figure) - getattr(b, figure) for a, b in zip(above, below, strict=True))
