"""That the verdict of a soak and the goals of a benchmark notice what is wrong. `python3 -m unittest discover scripts/benchmark`."""

import sqlite3
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace

import goals
import verdict
from measure import Round, difference, ratio

# clientTid: outcome of the client, row of the log, arrivals at the platform
CALLS = {
    "a": ("platform", ("127.0.0.1:1", "complete", "forwarded", None, None), 1),
    "b": ("GW-UP-HEAD", ("127.0.0.1:1", "complete", "failed", "GW-UP-HEAD", "报文可能已到达平台"), 1),
    "c": ("GW-UP-CONNECT", ("127.0.0.1:1", "complete", "failed", "GW-UP-CONNECT", "报文没有发出，可以直接重试"), 0),
    "d": ("GW-QUOTA-SHORT", ("127.0.0.1:1", "complete", "refused", "GW-QUOTA-SHORT", "额度不足"), 0),
    "e": ("broken", ("127.0.0.1:1", "aborted", "forwarded", None, None), 1),
    "f": ("left", ("127.0.0.1:1", "aborted", "forwarded", None, None), 1),
    "g": ("left", None, 0),
}
METRICS = [
    ("requests_total", {"outcome": "forwarded"}, 1.0), ("requests_total", {"outcome": "failed"}, 2.0),
    ("requests_total", {"outcome": "refused"}, 1.0), ("requests_total", {"outcome": "aborted"}, 2.0),
    ("refusals_total", {"code": "GW-UP-HEAD"}, 1.0), ("refusals_total", {"code": "GW-UP-CONNECT"}, 1.0),
    ("refusals_total", {"code": "GW-QUOTA-SHORT"}, 1.0), ("requests_in_flight", {}, 0.0),
    ("upstream_connections_open", {}, 3.0), ("upstream_connections_idle", {}, 3.0),
]


class Soak(unittest.TestCase):
    """One small run, right or changed in one place."""

    def wrong(self, calls=None, metrics=None, own=(("gateway", "complete", "forwarded", None, None),), without_tid=1,
              growth=(30.0, 32.0), exit_code=0) -> list[str]:
        """The lines that do not hold."""
        calls = CALLS | (calls or {})
        with tempfile.TemporaryDirectory() as place:
            database, account = Path(place) / "gateway.db", Path(place) / "calls.txt"
            connection = sqlite3.connect(database)
            connection.execute("CREATE TABLE exchange (client_tid, client, state, decision, decision_code, error_text)")
            rows = [(tid, *row) for tid, (_, row, _) in calls.items() if row] + [(None, *row) for row in own]
            connection.executemany("INSERT INTO exchange VALUES (?, ?, ?, ?, ?, ?)", rows)
            connection.commit()
            connection.close()
            lines = [f"{tid} CXSXED {outcome}\n" for tid, (outcome, _, _) in calls.items() if outcome]
            account.write_text("".join(lines), encoding="utf-8")
            arrived = {tid: times for tid, (_, _, times) in calls.items() if times}
            follower = SimpleNamespace(arrived=arrived, without_tid=without_tid, faults={"Stall": 1},
                                       received=sum(arrived.values()) + without_tid)
            facts = verdict.Facts({"calls": len(lines), "outcomes": {"any": len(lines)}}, account, metrics or METRICS, database,
                                  follower, SimpleNamespace(growth=lambda: growth), exit_code)
            return [line.what for line in verdict.judge(facts) if not line.right]

    def changed(self, tid: str, outcome: str | None = None, row=(), arrived: int | None = None) -> list[str]:
        """What does not hold when one call is otherwise."""
        before = CALLS.get(tid, (None, None, 0))
        return self.wrong({tid: (outcome or before[0], before[1] if row == () else row, before[2] if arrived is None else arrived)})

    def test_a_run_in_which_all_agree_is_right(self) -> None:
        self.assertEqual(self.wrong(), [])

    def test_a_call_that_arrived_twice_is_wrong(self) -> None:
        self.assertIn("nothing arrived twice at the platform", self.changed("a", arrived=2))
        self.assertTrue(self.changed("f", arrived=2))

    def test_a_call_that_was_said_not_to_be_sent_must_not_arrive(self) -> None:
        self.assertTrue(self.changed("c", arrived=1))
        self.assertTrue(self.changed("d", arrived=1))

    def test_a_missing_row_or_an_arrival_without_a_row_is_wrong(self) -> None:
        self.assertTrue(self.changed("a", row=None))
        self.assertTrue(self.changed("g", arrived=1))
        self.assertTrue(self.changed("stranger", arrived=1))

    def test_a_row_that_says_something_else_is_wrong(self) -> None:
        self.assertTrue(self.changed("a", row=("127.0.0.1:1", "aborted", "forwarded", None, None)))
        self.assertTrue(self.changed("b", row=("127.0.0.1:1", "complete", "failed", "GW-UP-SEND", "")))
        self.assertTrue(self.changed("f", row=("127.0.0.1:1", "sending", "forwarded", None, None)))

    def test_a_client_that_lost_its_connection_is_wrong(self) -> None:
        self.assertIn("no client lost its connection", self.changed("a", outcome="cut"))

    def test_metrics_that_differ_are_wrong(self) -> None:
        for place, (name, labels, value) in enumerate(METRICS):
            other = [*METRICS[:place], (name, labels, value + 1), *METRICS[place + 1:]]
            self.assertEqual(len(self.wrong(metrics=other)), 1, name)

    def test_leaks_bad_ends_and_own_calls_are_noticed(self) -> None:
        self.assertEqual(self.wrong(growth=(30.0, 33.1)), ["memory is flat within 10 %"])
        self.assertEqual(self.wrong(exit_code=1), ["it ends with exit code 0"])
        self.assertEqual(self.wrong(without_tid=2), ["own calls: answered ≤ arrived ≤ sent"])
        self.assertEqual(self.wrong(without_tid=0), ["own calls: answered ≤ arrived ≤ sent"])


class Goals(unittest.TestCase):
    """Ratios and bounds."""

    @staticmethod
    def rounds(*cpu: float) -> list[Round]:
        """Rounds that differ in their CPU."""
        return [Round("any", 1000, 1000.0, us, 1.0, us * 10, 1024, 41 * 1024) for us in cpu]

    def test_a_ratio_is_the_median_of_the_rounds(self) -> None:
        self.assertEqual(ratio(self.rounds(20, 30, 90), self.rounds(10, 20, 10)), 2.0)
        self.assertEqual(difference(self.rounds(20, 30, 90), self.rounds(10, 20, 10), "cpu_us"), 10)

    def test_goals_are_missed_beyond_their_bounds(self) -> None:
        found = {"nginx": self.rounds(10), "nginx-lua": self.rounds(16), "gateway-forward": self.rounds(11),
                 "gateway": self.rounds(15.5)}
        self.assertEqual([goal.met for goal in goals.of_throughput(found)], [True, True, False, False])
        self.assertEqual([goal.met for goal in goals.of_uploads(found)], [True, True])
        self.assertEqual([goal.met for goal in goals.of_latency(found, found)], [True, True])
        self.assertEqual([goal.met for goal in goals.of_memory({"gateway": 16.1})], [False])


if __name__ == "__main__":
    unittest.main()
