"""The comparisons that go on in the background: what is noted of them, and what people hear."""

from __future__ import annotations

from kvnode.core.effects import Report
from kvnode.core.limits import Limits
from kvnode.core.link import Link
from kvnode.core.messages import Check
from tests.support.replicas import Net
from tests.support.strangers import Stranger

LIMITS = Limits(diverged_checks=3)


def told(net: Net) -> list[tuple[str, str, bool]]:
    reports: list[Report] = net.nodes["A"].reports
    return [(r.kind, r.subject, r.resolved) for r in reports if r.kind == "diverged"]


class Peer(Stranger):
    """A peer that says what its comparison gave."""

    def check(self, *, known: bool = True, fingerprint: int | None = None) -> None:
        replica = self.net["A"]
        hashed = replica.known.hash() if known else 1
        print_ = replica.tree.print_of_all if fingerprint is None else fingerprint
        self.send(Check(hashed, print_, False))

    @property
    def seen(self) -> Link:
        (link,) = self.net["A"].links.values()
        return link


def peer() -> tuple[Net, Peer]:
    net = Net(limits=LIMITS)
    net.start("A")
    net.write("A", "x", 1)
    made = Peer(net, "A")
    net.nodes["A"].reports.clear()
    return net, made


def test_when_the_trees_were_last_equal() -> None:
    net, z = peer()
    assert z.seen.equal_at is None
    assert z.seen.compared is None
    z.check()
    assert (z.seen.equal_at, z.seen.compared) == (net.now.wall, (net.now.wall, "equal"))
    net.run(5_000)
    z.check(fingerprint=5)
    assert (z.seen.equal_at, z.seen.compared) == (net.now.wall - 5_000, (net.now.wall, "different"))
    z.check(known=False, fingerprint=5)
    assert z.seen.compared == (net.now.wall, "behind")
    z.check()
    assert (z.seen.equal_at, z.seen.compared) == (net.now.wall, (net.now.wall, "equal"))


def test_a_difference_that_stays_is_reported_once_and_ends() -> None:
    net, z = peer()
    for _ in range(5):
        z.check(fingerprint=5)
        assert ("diverged", "Z", False) not in told(net) or z.seen.differing >= 3
    assert told(net) == [("diverged", "Z", False)]
    z.check()
    assert told(net) == [("diverged", "Z", False), ("diverged", "Z", True)]
    assert z.seen.differing == 0


def test_a_difference_while_changes_are_on_their_way_is_none() -> None:
    net, z = peer()
    for _ in range(5):
        z.check(known=False, fingerprint=5)
    assert z.seen.differing == 0
    assert told(net) == []


def test_the_first_comparison_of_a_new_link_ends_what_an_older_one_reported() -> None:
    net, z = peer()
    for _ in range(3):
        z.check(fingerprint=5)
    net["A"].unlinked(z.link - 1, net.now)
    net["A"].unlinked(z.link, net.now)
    again = Peer(net, "A", session=78)
    again.check()
    assert told(net)[-1] == ("diverged", "Z", True)


def test_two_nodes_find_themselves_equal_in_time() -> None:
    net = Net("A", "B", limits=Limits(check_ms=1_000))
    net.link("A", "B")
    net.write("A", "x", 1)
    net.run(3_000)
    for label in "AB":
        (link,) = net[label].links.values()
        assert link.equal_at is not None
        assert net.now.wall - link.equal_at <= 1_000
