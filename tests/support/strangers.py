"""Peers that are driven by hand, and versions as they might send them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvnode.codec import peer
from kvnode.core.entry import Version, body_of
from kvnode.core.messages import Ack, AckState, Digest, Hello, Message, Versions
from kvnode.core.path import Path
from kvnode.core.stamp import stamp_of
from kvnode.core.ticks import Dot, Incarnation, incarnation
from tests.support.replicas import WALL, Net, Wire, enc

Z = incarnation("Z", 1)
"""An incarnation of nobody here."""


def version(
    path: str,
    tick: int,
    value: Any = 1,
    inc: Incarnation = Z,
    *,
    vector: Mapping[Incarnation, int] | None = None,
    stamp: int = stamp_of(WALL),
    expiry: int | None = None,
) -> Version:
    """A version from outside; the value None makes a tombstone."""
    packed = None if value is None else enc(value)
    return Version.make(Dot(inc, tick), vector or {}, body_of(Path.parse(path), stamp, packed, expiry=expiry))


class Stranger:
    """A peer that is driven by hand: what it sends need not make sense."""

    def __init__(self, net: Net, to: str, name: str = "Z", *, session: int = 77, **hello: Any) -> None:
        net._links += 2
        self.net, self.to, self.name, self.session = net, to, name, session
        self.link = net._links + 1
        self.label = f"{name}?{self.link}"
        self.seq = 0
        self.got: list[Message] = []
        self.is_cut = False
        net.strangers[self.label] = self
        net.wires[to, self.link] = Wire(to, self.link, self.label, self.link)
        net[to].linked(self.link, net.now, dialled=bool(hello.pop("dialled", False)))
        if not hello.pop("silent", False):
            self.send(self.hello(**hello))
        net.flow()

    def hello(self, **changed: Any) -> Hello:
        """A hello as an empty replica would send it, but for what is changed."""
        fields: Mapping[str, Any] = {
            "protocol_min": 1,
            "protocol_max": 1,
            "cluster": "kvnode",
            "name": self.name,
            "session": self.session,
            "inc": None,
            "marks": (),
            "features": (),
            "view": None,
            "known_hash": 0,
            "links": (),
        }
        return Hello(**{**fields, **changed})

    def send(self, *messages: Message) -> None:
        """Send messages, through the codec, with the numbers that are due."""
        for message in messages:
            self.send_bytes(peer.encode(self.seq, message))

    def send_bytes(self, payload: bytes) -> None:
        """Send what may be a message."""
        framed = peer.decode(payload)
        self.seq += 1
        self.net[self.to].receive(self.link, framed.seq, framed.message, self.net.now)
        self.net.flow()

    def introduce(self) -> None:
        """Tell that nothing is known here, which establishes what the replica believes of this peer."""
        self.send(Digest(dict.fromkeys(self.net[self.to].known.map, ()), 0))

    def mark(self, *incs: Incarnation) -> None:
        """Become a member that shows marks of closed incarnations (R3), of each of which it holds the first tick."""
        inc = incarnation(self.name, self.session)
        body = body_of(Path(("@", "nodes", self.name)), stamp_of(self.net.now.wall), enc({"inc": inc}))
        self.send(Versions((Version.make(Dot(inc, 1), {}, body),)))
        self.introduce()
        self.send(Ack((AckState(self.name, self.session, 1, dict.fromkeys(incs, (1, 2)), incs, ()),)))

    def took(self, kind: type[Message]) -> list[Any]:
        """The messages of a kind that came."""
        return [m for m in self.got if isinstance(m, kind)]

    @property
    def why(self) -> str:
        """Why the replica cut this link; empty if it did not."""
        return next((c.why for c in self.net.nodes[self.to].closed if c.link == self.link), "")
