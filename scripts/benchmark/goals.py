"""What the measurements must show (docs/performance.md)."""

from dataclasses import dataclass

from measure import Round, difference, medians, ratio


@dataclass
class Goal:
    """One bound on one figure."""

    number: int
    what: str
    unit: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure is within its bound."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def of_throughput(found: dict[str, list[Round]]) -> list[Goal]:
    """Goals 1, 2 and the first of 5."""
    nginx, lua, capture = found["nginx"], found["nginx-lua"], found["gateway"]
    goals = []
    if "gateway-forward" in found:
        goals.append(Goal(1, "CPU of forwarding : nginx", "×", ratio(found["gateway-forward"], nginx), 1.1))
    goals += [
        Goal(2, "CPU of forwarding and capturing : nginx with lua", "×", ratio(capture, lua), 1.0),
        Goal(2, "CPU of forwarding and capturing : nginx", "×", ratio(capture, nginx), 1.5),
        Goal(5, "memory at 64 connections, peak", "MB", max(one.peak_kb for one in capture) / 1024, 40),
    ]
    return goals


def of_uploads(found: dict[str, list[Round]]) -> list[Goal]:
    """Goal 3."""
    return [
        Goal(3, "CPU of an upload (decoded, reserved, intent and outcome committed) : nginx", "×",
             ratio(found["gateway"], found["nginx"]), 3.0),
        Goal(3, "uploads on one core", "/s", medians(found["gateway"])["requests_per_second"], 1000, at_least=True),
    ]


def of_latency(reads: dict[str, list[Round]], uploads: dict[str, list[Round]]) -> list[Goal]:
    """Goal 4."""
    def added(found: dict[str, list[Round]]) -> float:
        return difference(found["gateway"], found["nginx"], "p99_us") / 1000
    return [
        Goal(4, "p99 of reads at 2,000/s, more than nginx", "ms", added(reads), 0.5),
        Goal(4, "p99 of committed writes at 2,000/s, more than nginx", "ms", added(uploads), 5.0),
    ]


def of_memory(idle: dict[str, float]) -> list[Goal]:
    """The second of goal 5."""
    return [Goal(5, "memory of an idle TLS connection among 10,000", "kB", idle["gateway"], 16)]
