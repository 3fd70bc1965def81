"""The figures as a Markdown page and as data."""

from dataclasses import asdict

from goals import Goal
from measure import Round, medians


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first stand to the right."""
    lines = [head, ["---"] + ["--:"] * (len(head) - 1)] + rows
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def of_rounds(title: str, found: dict[str, list[Round]], remarks: dict[str, str]) -> str:
    """One kind of load: medians of its rounds for each proxy."""
    base = medians(found["nginx"])["cpu_us"]
    rows = []
    for name, rounds in found.items():
        m = medians(rounds)
        rows.append([f"{name}: {remarks[name]}" if name in remarks else name, f"{m['cpu_us']:.1f}", f"{m['cpu_us'] / base:.2f}",
                     f"{m['requests_per_second']:,.0f}", f"{m['p50_us'] / 1000:.2f}", f"{m['p99_us'] / 1000:.2f}",
                     f"{m['rss_kb'] / 1024:.1f}"])
    head = ["proxy, one worker", "CPU µs/request", "× nginx", "requests/s", "p50 ms", "p99 ms", "RSS MB"]
    return f"### {title}\n\n{table(head, rows)}"


def of_idle(idle: dict[str, float]) -> str:
    """Memory of idle connections."""
    return "### Idle TLS connections\n\n" + table(["proxy", "kB each"], [[name, f"{kb:.1f}"] for name, kb in idle.items()])


def of_goals(goals: list[Goal]) -> str:
    """Every goal with its figure and verdict."""
    rows = [[str(goal.number), goal.what, f"{goal.value:,.2f} {goal.unit}",
             f"{'≥' if goal.at_least else '≤'} {goal.limit:,g} {goal.unit}", "met" if goal.met else "**missed**"]
            for goal in goals]
    return "### Goals\n\n" + table(["goal", "what", "measured", "bound", ""], rows)


def data(about: dict, loads: dict[str, dict[str, list[Round]]], idle: dict[str, float], goals: list[Goal]) -> dict:
    """The same as data, with every round."""
    return {
        "about": about,
        "loads": {load: {name: {"median": medians(rounds), "rounds": [asdict(one) for one in rounds]}
                         for name, rounds in found.items()} for load, found in loads.items()},
        "idle_connection_kb": idle,
        "goals": [asdict(goal) | {"met": goal.met} for goal in goals],
    }
