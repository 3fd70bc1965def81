"""What goes on beside the load: random faults at the platform, its list of calls read as it grows, the gateway's memory."""

import http.client
import json
import random
import ssl
import statistics
import threading
import time
from dataclasses import dataclass

from gateway import RunningGateway
from processes import Failure


@dataclass
class Platform:
    """The simulated platform's control."""

    port: int
    context: ssl.SSLContext
    units: list[dict]

    def control(self, method: str, path: str, body: object = None) -> dict:
        """One control call (docs/simulator.md)."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=self.context)
        connection.request(method, f"/_sim/{path}", None if body is None else json.dumps(body))
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status != 200:
            raise Failure(f"the platform refuses {path}: {text.decode()}")
        return json.loads(text)

    def script(self, faults: list[dict]) -> None:
        """Replaces the faults that are to come."""
        self.control("POST", "faults", faults)


class Watcher:
    """Does something every so often until it is stopped."""

    def __init__(self, pause: float) -> None:
        self.pause = pause
        self.stopped = threading.Event()
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        """The thread."""
        try:
            while not self.stopped.wait(self.pause):
                self.step()
        except BaseException as error:  # shown by check()
            self.error = error

    def step(self) -> None:
        """What is done."""
        raise NotImplementedError

    def check(self) -> None:
        """Fails when the thread has failed."""
        if self.error:
            raise Failure(f"{type(self).__name__} failed: {self.error!r}") from self.error

    def stop(self) -> None:
        """Ends the thread."""
        self.stopped.set()
        self.thread.join()
        self.check()


class FaultScripts(Watcher):
    """Another random script of faults every moment."""

    def __init__(self, platform: Platform, seed: int) -> None:
        self.platform, self.random, self.count = platform, random.Random(seed), 0
        super().__init__(0.4)

    def step(self) -> None:
        self.platform.script([self.fault() for _ in range(self.random.randint(1, 4))])
        self.count += 1

    def fault(self) -> dict:
        """One fault that strikes a few of the next calls."""
        r = self.random
        kind, more = r.choice([
            ("delay", {"ms": r.randint(20, 1500)}),
            ("drip", {"ms": r.randint(1, 20)}),
            ("envelope", {"form": r.choice(["usual", "body_object", "numeric_status", "response_string"])}),
            ("fail_upload", {"service": "QDFPSC", "text": "参数错误"}),
            ("malformed", {}),
            ("refuse", {"code": r.choice(["4067", "4057", "4032"])}),
            ("reset_after_read", {"processed": r.random() < 0.5}),
            ("reset_before_read", {}),
            ("stall", {"processed": r.random() < 0.5}),
            ("status", {"status": r.choice([500, 502, 503]), "processed": r.random() < 0.5}),
            ("stuck_upload", {"service": "QDFPSC"}),
            ("truncate", {}),
            ("wrong_key", {}),
        ])
        times = r.randint(1, 3) if kind in ("stall", "delay") else r.randint(1, 12)
        return {"kind": kind, "times": times, "skip": r.randint(0, 40)} | more


class Follower(Watcher):
    """Reads the platform's list of calls while it grows, for it keeps only the latest."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.received = 0
        # how often each clientTid arrived
        self.arrived: dict[str, int] = {}
        self.without_tid = 0
        self.faults: dict[str, int] = {}
        super().__init__(0.5)

    def step(self) -> None:
        while self.read():
            pass

    def read(self) -> bool:
        """Reads one page; whether there is more."""
        page = self.platform.control("GET", f"calls?after={self.received}")
        for call in page["calls"]:
            self.received += 1
            if call["number"] != self.received:
                raise Failure(f"calls up to {call['number']} were forgotten before they were read")
            tid = next((value for name, value in call["headers"] if name.lower() == "clienttid"), None)
            if tid is None:
                self.without_tid += 1
            else:
                self.arrived[tid] = self.arrived.get(tid, 0) + 1
            if call["fault"]:
                self.faults[call["fault"]] = self.faults.get(call["fault"], 0) + 1
        return self.received < page["calls_received"]

    def finish(self) -> None:
        """Stops once everything is read."""
        self.stop()
        self.step()


@dataclass
class Sample:
    """One look at the gateway."""

    seconds: float
    memory_kb: int


class Sampler(Watcher):
    """Looks at the gateway's memory."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway
        self.begun = time.monotonic()
        self.samples: list[Sample] = []
        super().__init__(2)

    def step(self) -> None:
        self.samples.append(Sample(self.seconds(), self.gateway.process.memory_kb()))

    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.begun

    def last_mb(self) -> float:
        """Memory now."""
        return self.samples[-1].memory_kb / 1024 if self.samples else 0

    def growth(self) -> tuple[float, float]:
        """Memory in MB early, when the first third of the time had warmed it up, and late: medians of a fifth each."""
        warm = [sample.memory_kb / 1024 for sample in self.samples[len(self.samples) // 3:]]
        fifth = max(1, len(warm) // 5)
        return statistics.median(warm[:fifth]), statistics.median(warm[-fifth:])
