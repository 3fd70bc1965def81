"""Processes that are measured: started with a log of their own, ended for certain, read from /proc."""

import os
import resource
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")

# One core for the proxy that is measured, the others for those who call it and whom it calls: "one core" is meant so.
CORES = sorted(os.sched_getaffinity(0))
PROXY_CORES = {CORES[0]}
OTHER_CORES = set(CORES[1:]) or {CORES[0]}


# Every program that was started and not stopped yet.
RUNNING: list["Process"] = []


class Failure(Exception):
    """Something that must be put right before there is a result; its text says what."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(eq=False)
class Process:
    """A running program and its log."""

    name: str
    popen: subprocess.Popen
    log: Path

    @classmethod
    def start(cls, name: str, command: list, directory: Path, cores: set[int], **options) -> "Process":
        """Starts a program that may run on these cores."""
        log = directory / f"{name}.log"
        with log.open("ab") as out:
            popen = subprocess.Popen([str(word) for word in command], cwd=directory, stderr=out, stdin=subprocess.PIPE,
                                     stdout=options.pop("stdout", out),
                                     preexec_fn=lambda: os.sched_setaffinity(0, cores), **options)
        process = cls(name, popen, log)
        RUNNING.append(process)
        return process

    def wait_for(self, what: str, ready, seconds: float = 20) -> None:
        """Waits until `ready` is true; fails with the end of the log."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.popen.poll() is not None:
                raise Failure(f"{self.name} ended before {what}:\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise Failure(f"{self.name}: gave up waiting until {what}:\n{self.last_words()}")
            time.sleep(0.02)

    def wait_for_port(self, port: int) -> None:
        """Waits until it takes connections."""
        def ready() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0
        self.wait_for(f"it listened on port {port}", ready)

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])

    def family(self) -> list[int]:
        """Its process id and those of its children."""
        found = [self.popen.pid]
        for stat in Path("/proc").glob("[0-9]*/stat"):
            fields = stat_fields(stat)
            if fields and int(fields[1]) == self.popen.pid:
                found.append(int(stat.parent.name))
        return found

    def cpu_us(self) -> float:
        """User and system time of the whole family in microseconds."""
        ticks = 0
        for pid in self.family():
            fields = stat_fields(Path(f"/proc/{pid}/stat"))
            ticks += int(fields[11]) + int(fields[12]) if fields else 0
        return ticks * 1_000_000 / TICK

    def memory_kb(self, key: str = "VmRSS") -> int:
        """Resident memory of the whole family in kB: VmRSS now, VmHWM at its peak."""
        total = 0
        for pid in self.family():
            for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
                if line.startswith(f"{key}:"):
                    total += int(line.split()[1])
        return total

    def stop(self) -> None:
        """Ends it, by force if it does not end by itself."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe:
                pipe.close()
        if self in RUNNING:
            RUNNING.remove(self)


def stop_all() -> None:
    """Ends everything that was started, the youngest first."""
    for process in reversed(list(RUNNING)):
        process.stop()


def allow_open_files(number: int) -> None:
    """Raises the limit of open files for everything that is started from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= number:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, max(number, hard)))
    except (ValueError, OSError) as error:
        raise Failure(f"{number} open files are needed, {hard} are allowed: raise it with ulimit -n") from error


def stat_fields(stat: Path) -> list[str]:
    """/proc/PID/stat behind the name, which may hold anything; empty when the process is gone."""
    try:
        return stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
