"""Whether four accounts of the same calls agree: the clients', the gateway's metrics, its request log, the platform's.

For every call of a client, found by its clientTid:

| the client got | the log | the platform |
|---|---|---|
| the platform's answer, whole | one row: complete, forwarded | once |
| an answer of the gateway's own | one row: complete, refused or failed, with the same code | refused or not sent: never; else at most once |
| an answer that broke off | one row: aborted, forwarded | once |
| nothing, for it left | at most one row | at most once, and then with a row |

Nothing may arrive twice, and nothing that the log does not know. The counts of each kind must equal the metrics. Calls of
the gateway's own (balances) carry no clientTid and are compared by their number.
"""

import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from watch import Follower, Sampler

NOT_SENT = "报文没有发出"


@dataclass
class Line:
    """One statement and whether it holds."""

    what: str
    found: str
    right: bool


@dataclass
class Facts:
    """Everything that is known after a run."""

    told: dict
    calls: Path
    metrics: list[tuple[str, dict[str, str], float]]
    database: Path
    follower: Follower
    sampler: Sampler
    exit_code: int

    def metric(self, name: str, **labels: str) -> int:
        """The sum of a metric's samples with these labels."""
        return int(sum(value for sample, its, value in self.metrics if sample == name and labels.items() <= its.items()))

    def metric_by(self, name: str, label: str) -> Counter:
        """A metric's samples by one label."""
        found: Counter = Counter()
        for sample, labels, value in self.metrics:
            if sample == name and value:
                found[labels[label]] += int(value)
        return found


@dataclass
class Row:
    """One row of the request log."""

    state: str
    decision: str
    code: str | None
    unsent: bool


def table(lines: list[Line]) -> str:
    """The verdict in Markdown."""
    rows = [f"| {line.what} | {line.found} | {'yes' if line.right else '**NO**'} |" for line in lines]
    verdict = "all of it holds" if all(line.right for line in lines) else "NOT all of it holds"
    return "\n".join(["| what must hold | found | holds |", "|---|---|---|", *rows, "", f"Verdict: {verdict}."])


def judge(facts: Facts) -> list[Line]:
    """All lines."""
    rows, own, doubled = read_log(facts.database)
    outcomes = read_calls(facts.calls)
    return [*calls_agree(facts, outcomes, rows, doubled), *metrics_agree(facts, rows), *own_calls_agree(facts, own),
            *nothing_is_left(facts, rows, own)]


def read_log(database: Path) -> tuple[dict[str, Row], list[Row], int]:
    """Rows of clients by clientTid, rows of the gateway's own calls, and how many clientTids have more than one row."""
    rows: dict[str, Row] = {}
    own: list[Row] = []
    doubled = 0
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    query = "SELECT client_tid, client, state, decision, decision_code, error_text FROM exchange"
    for tid, client, state, decision, code, text in connection.execute(query):
        row = Row(state, decision, code, NOT_SENT in (text or ""))
        if client == "gateway":
            own.append(row)
        else:
            doubled += tid in rows
            rows[tid] = row
    connection.close()
    return rows, own, doubled


def read_calls(file: Path) -> dict[str, str]:
    """Outcomes by clientTid, as the clients wrote them down."""
    found = {}
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            tid, _, outcome = line.split()
            found[tid] = outcome
    return found


def fits(outcome: str, row: Row | None, arrived: int) -> bool:
    """The table above, for one call."""
    if row is None:
        return outcome == "left" and arrived == 0
    if outcome == "platform":
        return (row.state, row.decision, arrived) == ("complete", "forwarded", 1)
    if outcome == "broken":
        return (row.state, row.decision, arrived) == ("aborted", "forwarded", 1)
    if outcome == "left":
        return row.state in ("complete", "aborted") and arrived <= 1
    own = row.state == "complete" and row.code == outcome
    never = row.decision == "refused" or row.unsent
    return own and row.decision in ("refused", "failed") and arrived <= (0 if never else 1)


def calls_agree(facts: Facts, outcomes: dict[str, str], rows: dict[str, Row], doubled: int) -> list[Line]:
    """Every call, in the clients' account, the log's and the platform's."""
    arrived = facts.follower.arrived
    wrong = [f"{tid}: {outcome}, {rows.get(tid)}, arrived {arrived.get(tid, 0)} times" for tid, outcome in outcomes.items()
             if not fits(outcome, rows.get(tid), arrived.get(tid, 0))]
    counts = Counter(outcomes.values())
    seen = sum(1 for tid, outcome in outcomes.items() if outcome == "left" and tid in rows)
    told = ", ".join(f"{outcome} {count:,}" for outcome, count in sorted(counts.items()))
    strangers = [tid for tid in rows if tid not in outcomes] + [tid for tid in arrived if tid not in rows]
    expected = len(outcomes) - counts["left"] + seen
    return [
        Line("the clients' outcomes are complete", f"{len(outcomes):,}: {told}",
             len(outcomes) == facts.told["calls"] == sum(facts.told["outcomes"].values())),
        Line("no client lost its connection", f"{counts['cut']}", counts["cut"] == 0),
        Line("every call has the row and the arrival that its outcome asks for",
             f"{len(wrong)} do not" + "".join(f"; {one}" for one in wrong[:3]), not wrong),
        Line("rows of clients = answered calls + broken ones + left ones that were seen", f"{len(rows):,} = {expected:,}",
             len(rows) == expected),
        Line("no call has two rows", f"{doubled}", doubled == 0),
        Line("nothing arrived twice at the platform", f"{sum(1 for times in arrived.values() if times > 1)}",
             all(times == 1 for times in arrived.values())),
        Line("no row without a call, no arrival without a row", f"{len(strangers)} {strangers[:3] or ''}", not strangers),
    ]


def metrics_agree(facts: Facts, rows: dict[str, Row]) -> list[Line]:
    """The metrics and the log."""
    def outcome(row: Row) -> str:
        return "aborted" if row.state == "aborted" else row.decision
    by_log = Counter(outcome(row) for row in rows.values())
    by_metric = facts.metric_by("requests_total", "outcome")
    codes = Counter(row.code for row in rows.values() if row.state == "complete" and row.code)
    refusals = facts.metric_by("refusals_total", "code")
    def told(counts: Counter) -> str:
        return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "none"
    return [
        Line("requests_total by outcome = rows", told(by_metric), by_metric == by_log),
        Line("refusals_total by code = rows with an answer of the gateway's own", told(refusals), refusals == codes),
        Line("request_log_lost_total, unstored_answers_total are 0",
             f"{facts.metric('request_log_lost_total')}, {facts.metric('unstored_answers_total')}",
             not facts.metric("request_log_lost_total") and not facts.metric("unstored_answers_total")),
    ]


def own_calls_agree(facts: Facts, own: list[Row]) -> list[Line]:
    """The gateway's own calls, by their number; those that failed may have arrived or not."""
    answered = sum(1 for row in own if row.decision == "forwarded")
    unsent = sum(1 for row in own if row.unsent)
    arrived = facts.follower.without_tid
    total = sum(facts.follower.arrived.values()) + arrived
    faults = sum(facts.follower.faults.values())
    return [
        Line("own calls: answered ≤ arrived ≤ sent", f"{answered} ≤ {arrived} ≤ {len(own) - unsent}",
             answered <= arrived <= len(own) - unsent),
        Line("calls received by the platform = arrivals of clients' + own calls", f"{facts.follower.received:,} = {total:,}",
             facts.follower.received == total),
        Line("faults struck", f"{faults:,}: " + ", ".join(f"{kind} {n:,}" for kind, n in sorted(facts.follower.faults.items())),
             faults > 0),
    ]


def nothing_is_left(facts: Facts, rows: dict[str, Row], own: list[Row]) -> list[Line]:
    """Nothing is stuck, nothing leaks."""
    flying, connected = facts.metric("requests_in_flight"), facts.metric("connections", listener="data")
    opened, idle = facts.metric("upstream_connections_open"), facts.metric("upstream_connections_idle")
    open_rows = sum(1 for row in [*rows.values(), *own] if row.state not in ("complete", "aborted"))
    early, late = facts.sampler.growth()
    return [
        Line("no call in flight, no client connected", f"{flying}, {connected}", not flying and not connected),
        Line("every upstream connection is idle", f"{opened} open, {idle} idle", opened == idle),
        Line("no row is left open", f"{open_rows}", open_rows == 0),
        Line("memory is flat within 10 %", f"{early:.1f} MB → {late:.1f} MB", late <= early * 1.1),
        Line("it ends with exit code 0", f"{facts.exit_code}", facts.exit_code == 0),
    ]
