"""Liveness: several nodes' instances against one another, on a virtual clock and a network with faults."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import pytest

from kvnode.core.messages import Ping, PingAck, PingReq, Pong
from kvnode.node.liveness import Dead, Liveness, LivenessLimits, Tell, Verdict

LIMITS = LivenessLimits()
NAMES = "abcdef"


class Net:
    """Nodes, fully linked, each with its liveness; `lost(from, to)` says which messages are lost, `slow` delays a
    node's answers. Link ids are the index of the peer.
    """

    def __init__(self, count: int, *, delay_ms: int = 5) -> None:
        self.now = 0
        self.count = count
        self.nodes = [Liveness(LIMITS) for _ in range(count)]
        self.lost: Callable[[int, int], bool] = lambda a, b: False
        self.delay: Callable[[int, int], int] = lambda a, b: delay_ms
        self.stalled: set[int] = set()
        self.dead: list[tuple[int, int, int, Dead]] = []
        self.sent = 0
        self._order = itertools.count()
        self._queue: list[tuple[int, int, int, int, object]] = []
        for a, b in itertools.permutations(range(count), 2):
            self.out(a, self.nodes[a].up(b, NAMES[b], 0))

    def out(self, node: int, verdicts: list[Verdict]) -> None:
        for verdict in verdicts:
            if isinstance(verdict, Dead):
                self.dead.append((self.now, node, verdict.link, verdict))
                continue
            self.sent += 1
            to = verdict.link
            if not self.lost(node, to):
                at = self.now + self.delay(node, to)
                heapq.heappush(self._queue, (at, next(self._order), node, to, verdict.message))

    def run(self, until: int) -> None:
        """Let time pass."""
        while True:
            wakes = [
                d for i, n in enumerate(self.nodes) if i not in self.stalled and (d := n.next_deadline()) is not None
            ]
            nexts = [*wakes, *(q[0] for q in self._queue[:1])]
            self.now = min([*nexts, until])
            if self.now >= until:
                return
            while self._queue and self._queue[0][0] <= self.now:
                _, _, source, to, message = heapq.heappop(self._queue)
                self.arrive(source, to, message)
            for number, node in enumerate(self.nodes):
                deadline = node.next_deadline()
                if number not in self.stalled and deadline is not None and deadline <= self.now:
                    self.out(number, node.wake(self.now))

    def arrive(self, source: int, to: int, message: object) -> None:
        if to in self.stalled:
            heapq.heappush(self._queue, (self.now + 10, next(self._order), source, to, message))
            return
        node = self.nodes[to]
        self.out(to, node.heard(source, self.now))
        self.out(to, node.received(source, message, self.now))  # type: ignore[arg-type]  # only what they sent


def test_healthy_links_stay_and_cost_little() -> None:
    net = Net(4)
    net.run(60_000)
    assert net.dead == []
    # A link is probed from both ends, every idle time, or less often: one end's ping is the other's sign of life.
    assert net.sent <= 2 * 12 * (60_000 // LIMITS.idle_ms + 1)
    assert [n.health for n in net.nodes] == [0] * 4


@pytest.mark.parametrize("count", [2, 3, 6])
def test_a_dead_node_is_found_by_all_in_bounded_time(count: int) -> None:
    net = Net(count)
    net.run(10_000)
    net.lost = lambda a, b: 1 in (a, b)
    net.run(30_000)
    found = {(node, link) for _, node, link, _ in net.dead if node != 1}
    assert found == {(n, 1) for n in range(count) if n != 1}
    worst = LIMITS.idle_ms + LIMITS.probe_ms + LIMITS.suspect_most_ms
    latest = max(at for at, node, _, _ in net.dead if node != 1) - 10_000
    assert latest <= worst + 100
    assert not any(v.alive_elsewhere for _, node, _, v in net.dead if node != 1)


def test_the_word_of_others_makes_the_verdict_faster() -> None:
    def time_to_verdict(count: int) -> int:
        net = Net(count)
        net.run(10_000)
        net.lost = lambda a, b: 1 in (a, b)
        net.run(40_000)
        return min(at for at, node, _, _ in net.dead if node == 0)

    assert time_to_verdict(6) < time_to_verdict(2)


def test_a_link_that_passes_nothing_one_way_is_closed_but_late_since_others_hear_the_node() -> None:
    net = Net(4)
    net.run(10_000)
    net.lost = lambda a, b: (a, b) == (1, 0)
    net.run(20_000)
    assert net.dead == [], "the others hear node b: it may be slow"
    net.run(60_000)
    (at, node, link, verdict), *_ = net.dead
    assert (node, link, verdict.alive_elsewhere) == (0, 1, True)
    assert at - 10_000 >= LIMITS.slow_ms
    assert "while" in verdict.why


def test_a_slow_node_is_not_dead() -> None:
    net = Net(4)
    net.run(10_000)
    net.delay = lambda a, b: 1_200 if 1 in (a, b) else 5
    net.run(120_000)
    assert net.dead == []


def test_a_node_that_was_suspended_judges_nobody_by_the_time_it_slept() -> None:
    net = Net(3)
    net.run(10_000)
    net.stalled = {0}
    net.run(13_000)
    net.stalled = set()
    net.run(40_000)
    assert [d for d in net.dead if d[1] == 0] == []


def test_health_gets_worse_by_own_lateness_and_better_by_answers() -> None:
    one = Liveness(LIMITS)
    one.up(1, "b", 0)
    due = one.next_deadline()
    assert due == LIMITS.idle_ms
    late = due + LIMITS.late_ms + 1
    (ping,) = one.wake(late)
    assert one.health == 1
    assert isinstance(ping, Tell)
    assert isinstance(ping.message, Ping)
    assert one.next_deadline() == late + 2 * LIMITS.probe_ms
    at = late + 3
    one.heard(1, at)
    one.received(1, Pong(ping.message.number), at)
    assert one.health == 0


def test_a_link_on_which_an_answer_is_due_is_probed_sooner() -> None:
    one = Liveness(LIMITS)
    one.up(1, "b", 0)
    one.up(2, "c", 0)
    one.awaiting(1, 500)
    one.awaiting(1, 900)  # still the same answer
    assert one.next_deadline() == 500 + LIMITS.answer_ms
    assert [v.link for v in one.wake(500 + LIMITS.answer_ms)] == [1]


def test_whatever_is_heard_is_an_answer() -> None:
    one = Liveness(LIMITS)
    one.up(1, "b", 0)
    one.awaiting(1, 500)
    one.heard(1, 900)
    assert one.next_deadline() == 900 + LIMITS.idle_ms
    one.awaiting(1, 900 + LIMITS.idle_ms - 1)
    assert one.next_deadline() == 900 + LIMITS.idle_ms


def test_a_node_that_slept_does_not_count_the_time_as_waiting_for_an_answer() -> None:
    one = Liveness(LIMITS)
    one.up(1, "b", 0)
    one.up(2, "c", 0)
    one.awaiting(1, 100)
    one.awaiting(2, 1_000)
    one.next_deadline()
    slept_until = 100 + LIMITS.answer_ms + 20_000
    one.wake(slept_until)
    assert one.next_deadline() is not None
    assert slept_until < (one.next_deadline() or 0)


def test_health_is_bounded() -> None:
    one = Liveness(LIMITS)
    now = 0
    one.up(1, "b", now)
    for _ in range(50):
        deadline = one.next_deadline()
        assert deadline is not None
        now = deadline + LIMITS.late_ms + 1
        one.wake(now)
        one.heard(1, now)
    assert one.health == LIMITS.health_most


def test_a_ping_is_answered() -> None:
    one = Liveness(LIMITS)
    one.up(1, "b", 0)
    assert one.received(1, Ping(7), 0) == [Tell(1, Pong(7))]


def test_a_question_about_somebody_unknown_is_answered_at_once() -> None:
    one = Liveness(LIMITS)
    one.up(1, "b", 0)
    assert one.received(1, PingReq(3, "z"), 0) == [Tell(1, PingAck(3, "z", None))]
    assert one.received(1, PingReq(3, "b"), 0) == [Tell(1, PingAck(3, "b", None))], (
        "the asker's own link does not count"
    )


def test_a_question_is_answered_by_what_a_ping_brings() -> None:
    one = Liveness(LIMITS)
    one.up(1, "b", 0)
    one.up(2, "c", 0)
    (ping,) = one.received(1, PingReq(3, "c"), 1_500)
    assert isinstance(ping, Tell)
    assert (ping.link, type(ping.message)) == (2, Ping)
    assert one.heard(2, 1_520) == [Tell(1, PingAck(3, "c", 0))]
    one.heard(1, 3_400)
    one.received(1, PingReq(4, "c"), 3_400)
    due = one.next_deadline()
    assert due == 3_400 + LIMITS.probe_ms, "or not at all, in time"
    assert Tell(1, PingAck(4, "c", due - 1_520)) in one.wake(due)


def test_questions_are_bounded() -> None:
    one = Liveness(LIMITS)
    one.up(1, "b", 0)
    one.up(2, "c", 0)
    for number in range(10 * LIMITS.questions):
        one.received(1, PingReq(number, "c"), 1_500)
    assert len(one._links[2].questions) == LIMITS.questions


def test_a_second_link_to_a_node_has_the_older_one_probed() -> None:
    one = Liveness(LIMITS)
    assert one.up(1, "b", 0) == []
    (probe,) = one.up(2, "b", 10)
    assert isinstance(probe, Tell)
    assert probe.link == 1


def test_a_ping_that_still_waits_in_the_queue_does_not_count_against_the_peer() -> None:
    one = Liveness(LIMITS)
    one.up(1, "b", 0)
    now = one.next_deadline() or 0
    one.wake(now)
    for _ in range(30):
        now += LIMITS.probe_ms // 2
        one.moving(1, now)
        assert one.wake(now) == []
    assert [type(v) for v in one.wake(now + LIMITS.probe_ms)] == []
    one.down(1)
    assert one.next_deadline() is None
