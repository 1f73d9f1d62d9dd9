"""Peer messages <-> bytes. A frame's payload is the array ``[seq, message]``; `seq` counts a link's messages (R4).

Versions travel with a table of the incarnations that the message mentions, so that a name of some twenty bytes
goes over the wire once a message and not once a version. A message type that this version does not know is
read as a bare :class:`~kvnode.core.messages.Message`, which the core ignores (R11).
"""

from __future__ import annotations

from collections.abc import Iterable
from sys import intern
from typing import Annotated, Final, NamedTuple

import msgspec

from ..core import messages as m
from ..core.entry import NO_VECTOR, Siblings, Version
from ..core.ticks import Dot, Incarnation, is_incarnation

MAX_FRAME_BYTES: Final = 8 << 20

_Index = Annotated[int, msgspec.Meta(ge=0)]
Item = tuple[_Index, int, dict[_Index, int], bytes, bytes]
"""Incarnation (by index), tick, vector (by index), body, signature."""


class PeerCodecError(ValueError):
    """Bytes that are no peer message."""


class _Versions(msgspec.Struct, array_like=True, frozen=True, tag=6):
    incs: tuple[Incarnation, ...]
    items: tuple[Item, ...]
    prompt: bool = True


class _PathTell(msgspec.Struct, array_like=True, frozen=True, tag=12):
    incs: tuple[Incarnation, ...]
    paths: tuple[tuple[bytes, tuple[Item, ...], tuple[Dot, ...]], ...]


_Wire = (
    m.Hello
    | m.Digest
    | m.DigestAsk
    | m.DigestBuckets
    | m.DigestParts
    | _Versions
    | m.End
    | m.Ack
    | m.PrintAsk
    | m.PrintTell
    | m.PathAsk
    | _PathTell
    | m.Event
    | m.Check
    | m.MoreLinks
    | m.Ping
    | m.Pong
    | m.PingReq
    | m.PingAck
)
_TAGS: Final = frozenset([*range(1, 16), *range(20, 24)])

_PAIR: Final = b"\x92"
"""How an array of two begins."""
_encoder = msgspec.msgpack.Encoder()
_envelope = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw])
_decoder = msgspec.msgpack.Decoder(_Wire)
_any = msgspec.msgpack.Decoder(list[msgspec.Raw])


class Framed(NamedTuple):
    """A message with its number on the link."""

    seq: int
    message: m.Message


class _Table:
    """Collects the incarnations of a message."""

    def __init__(self) -> None:
        self.index: dict[Incarnation, int] = {}

    def items(self, versions: Iterable[Version]) -> tuple[Item, ...]:
        index = self.index
        items: list[Item] = []
        for v in versions:
            at, extra = index.setdefault(v.inc, len(index)), v.extra
            over = extra.vector
            vector = {index.setdefault(inc, len(index)): tick for inc, tick in over.items()} if over else {}
            items.append((at, v.tick, vector, v.body, extra.sig))
        return tuple(items)

    @property
    def incs(self) -> tuple[Incarnation, ...]:
        return tuple(self.index)


class Encoder:
    """Encodes messages. Versions that go to several links are encoded once, if it is the same message each time."""

    def __init__(self) -> None:
        self._last: tuple[m.Message | None, bytes] = (None, b"")

    def encode(self, seq: int, message: m.Message) -> bytes:
        """The payload of a frame."""
        last, encoded = self._last
        if message is not last:
            if not isinstance(message, m.Versions):
                return _encoder.encode((seq, _to_wire(message)))
            encoded = _encoder.encode(_to_wire(message))
            self._last = (message, encoded)
        return _PAIR + _encoder.encode(seq) + encoded


encode: Final = Encoder().encode


def _to_wire(message: m.Message) -> object:
    table = _Table()
    if isinstance(message, m.Versions):
        items = table.items(message.versions)
        return _Versions(table.incs, items, message.prompt)
    if isinstance(message, m.PathTell):
        paths = tuple((key, table.items(siblings), gone) for key, siblings, gone in message.paths)
        return _PathTell(table.incs, paths)
    return message


def decode(payload: bytes) -> Framed:
    """Read a frame's payload; PeerCodecError says what is wrong with it."""
    try:
        seq, raw = _envelope.decode(payload)
        wire = _decode_known(raw)
        return Framed(seq, _from_wire(wire) if wire is not None else m.Message())
    except (msgspec.MsgspecError, ValueError, IndexError, RecursionError) as err:
        raise PeerCodecError(f"not a peer message: {err}") from None


def _decode_known(raw: msgspec.Raw) -> object | None:
    try:
        wire: object = _decoder.decode(raw)
        return wire
    except msgspec.ValidationError:
        fields = _any.decode(raw)
        if fields and msgspec.msgpack.decode(fields[0], type=int) not in _TAGS:
            return None
        raise


def _from_wire(wire: object) -> m.Message:
    if isinstance(wire, _Versions):
        return m.Versions(_versions(wire.incs, wire.items), wire.prompt)
    if isinstance(wire, _PathTell):
        return m.PathTell(tuple((key, _versions(wire.incs, items), gone) for key, items, gone in wire.paths))
    assert isinstance(wire, m.Message)
    return wire


def _versions(incs: tuple[Incarnation, ...], items: tuple[Item, ...]) -> Siblings:
    for inc in incs:
        if not is_incarnation(inc):
            raise PeerCodecError(f"{inc!r} is no incarnation")
    names = [intern(inc) for inc in incs]
    received = Version.received
    return tuple(
        [
            received(names[at], tick, {names[n]: t for n, t in over.items()} if over else NO_VECTOR, body, sig)
            for at, tick, over, body, sig in items
        ]
    )
