"""Peers that send what no honest node would."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kvnode.codec import peer
from kvnode.core.entry import Version, extra_of
from kvnode.core.messages import Ack, Check, Digest, End, Message, PathTell, Versions
from kvnode.core.path import Path
from kvnode.core.stamp import MAX_STAMP, stamp_of
from kvnode.core.ticks import MAX_TICK, Dot, incarnation
from tests.support.replicas import WALL, enc, linked
from tests.support.soundness import unsound
from tests.support.strangers import Stranger, Z, version


def wire_version(path: tuple[Any, ...] = ("x",), **changed: Any) -> Version:
    """A version as no honest node makes it; built past the checks of the codec."""
    body: dict[str, Any] = {"stamp": stamp_of(WALL), "kind": 0, "value": msgspec.Raw(b"\x01"), "expiry": None} | changed
    encoded = msgspec.msgpack.encode([path, body["stamp"], body["kind"], body["value"], "", None, body["expiry"]])
    return Version(
        changed.get("inc", Z),
        changed.get("tick", 1),
        Path(path).key,
        encoded,
        body["stamp"],
        extra_of(changed.get("vector", {}), b"", body["kind"], body["expiry"], None),
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"tick": 0},
        {"tick": -1},
        {"tick": MAX_TICK + 1},
        {"tick": 2**64 - 1},
        {"stamp": -1},
        {"stamp": MAX_STAMP + 1},
        {"stamp": 2**64 - 1},
        {"expiry": -1},
        {"expiry": 2**64 - 1},
        {"vector": {Z: 2**64 - 1}},
        {"vector": {Z: -1}},
        {"vector": {Z: 0}},
        {"vector": {"no incarnation": 1}},
        {"inc": "no incarnation"},
        {"inc": "A~0"},
        {"path": ()},
        {"value": msgspec.Raw(b"\x91" * 500 + b"\xc0")},
    ],
    ids=lambda changed: str(changed).partition(" at 0x")[0][:40],
)
def test_hostile_versions_are_refused_by_the_codec(changed: dict[str, Any]) -> None:
    payload = peer.encode(0, Versions((wire_version(**changed),)))
    with pytest.raises(peer.PeerCodecError):
        peer.decode(payload)


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": 7},
        {"kind": -1},
        {"tick": MAX_TICK},
        {"stamp": 0},
        {"stamp": MAX_STAMP},
        {"expiry": 0},
        {"expiry": MAX_TICK - 1},
        {"vector": {Z: MAX_TICK}},
        {"vector": {incarnation("Y", 1): MAX_TICK}},
        {"path": ("@",)},
        {"path": ("@", "nodes", "A")},
        {"path": ("@", "nodes", "no name!"), "value": msgspec.Raw(enc({"closes": ["x"] * 100, "inc": "A~"}))},
        {"path": ("@", "policy", 5), "value": msgspec.Raw(enc({"pattern": "#.#.#.#.#", "policy": "max"}))},
        {"path": ("@", "volatile", 5), "value": msgspec.Raw(enc({"pattern": "#"}))},
        {"path": ("@", "policy", 5), "value": msgspec.Raw(b"\x81\x80\xc0")},
        {"path": ("@", "policy", 5), "value": msgspec.Raw(b"\xd4\x05\x00")},
    ],
    ids=lambda changed: str(changed)[:60],
)
def test_strange_versions_do_no_harm(changed: dict[str, Any]) -> None:
    net = linked("A", "B")
    stranger = Stranger(net, "A")
    stranger.send(Versions((wire_version(**changed),)))
    assert not stranger.is_cut
    net.run()
    for label in "AB":
        net.write(label, "x", label)
        net.write(label, "y", label)
        net.delete(label, "y")
    net.run(100_000)
    assert unsound(net["A"]) == []
    assert net.converged()
    store = net.crash("A")
    net.start("A", store=store)
    assert net["A"].is_current
    net.link("A", "B")
    net.run(100_000)
    assert net.converged()
    assert not [c for label in "AB" for c in net.nodes[label].closed]


def hostile_messages(own: str) -> list[Message]:
    """Structurally valid, and wrong. `own` is the replica's running incarnation."""
    x, y = Path.parse("x").key, Path.parse("y").key
    return [
        PathTell(((x, (version("y", 1),), ()),)),
        PathTell(((b"junk", (version("x", 1),), ()),)),
        PathTell(((b"junk", (), (Dot(Z, 1), Dot("?", -5))),)),
        PathTell(((x, (), (Dot(Z, 0), Dot(own, 10**9))), (y, (), ()))),
        End({Z: (3, 2)}, 0, True),
        End({Z: (0, 2)}, 0, True),
        End({Z: (1, 2, 2, 3)}, 0, True),
        End({Z: (1,)}, 0, True),
        End({Z: (1, 2**64 - 1)}, 0, True),
        End({"?": (1, 2)}, 0, True),
        End({own: (1, 10**6)}, 0, True),
        End({Z: (1, 5)}, -1, True),
        End({Z: (1, 5)}, 2**63, True),
        Digest({Z: (5, 5)}, 0),
        Digest({"?": (1, 2)}, 0),
        Digest({own: (1, 10**6)}, 2**64 - 1),
        Digest({own: ()}, -1),
        Check(-1, 2**64 - 1, True),
        Check(0, 0, False),
        Versions((version("x", 9, inc=own),)),
        Versions((version("@.nodes.A", 9, {"inc": own, "closes": [own]}),)),
        Versions((version("@.nodes.A", 9, None),)),
        Ack(()),
    ]


@pytest.mark.parametrize("at", range(len(hostile_messages(Z))))
@pytest.mark.parametrize("introduced", [False, True])
def test_hostile_messages_harm_nobody(at: int, introduced: bool) -> None:
    net = linked("A", "B")
    net.write("A", "x", 1)
    net.write("B", "y", 1)
    net.run()
    own = net["A"].state.inc
    assert own is not None
    stranger = Stranger(net, "A")
    if introduced:
        stranger.introduce()
    stranger.send(hostile_messages(own)[at])
    net.run()
    net.write("A", "x", 2)
    net.write("B", "z", 2)
    net.cut("A", "B")
    net.link("B", "A")
    net.run(100_000)
    assert net.converged()
    assert net.read("B", "x") == 2
    assert net.read("A", "z") == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"view": ("",)},
        {"view": ("a..b", "#" * 100)},
        {"view": ()},
        {"marks": ("?", "A~0", "n" * 200)},
        {"features": ("\0", "")},
        {"known_hash": -1},
        {"known_hash": 2**64 - 1},
        {"inc": "?"},
        {"links": (("?", -1), ("", 2**64 - 1))},
        {"cluster": "\n"},
    ],
    ids=lambda changed: str(changed)[:40],
)
def test_a_hello_of_any_shape_harms_nobody(changed: dict[str, Any]) -> None:
    net = linked("A", "B")
    stranger = Stranger(net, "A", **changed)
    if not stranger.is_cut:
        stranger.send(Digest({}, 0), End({}, 1, True), Check(0, 0, True))
    net.write("A", "x", 1)
    net.run(60_000)
    assert net.read("B", "x") == 1
    assert net.converged()
