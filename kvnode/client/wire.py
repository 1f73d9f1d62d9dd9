"""The bytes of the messages of :mod:`.protocol`, and the few rules that client and node share. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import ClassVar, Final, NamedTuple, get_args

import msgspec

from kvnode.codec.framing import frame
from kvnode.core.ticks import Known, Ticks, is_incarnation

from . import inspect_protocol as ip
from . import protocol as p
from .protocol import PROTOCOL_MAX, PROTOCOL_MIN, Answer, ClientHello, Message, Ranges, Request, ServerHello

FIRST_TAG: Final = 64
"""Tags of clients' messages start here."""


class WireError(ValueError):
    """Bytes from the other side that are no message of this protocol. `code` is what they are refused with."""

    code: ClassVar[str] = "bad_request"


class TooOld(WireError):
    """A request that a later version has added."""

    code: ClassVar[str] = "too_old"


encode_part: Final = msgspec.msgpack.Encoder().encode
"""Encode a part of a message, to be put in as :class:`msgspec.Raw`."""
AnyRequest = Request | ip.InspectRequest
_requests: Final[msgspec.msgpack.Decoder[AnyRequest]] = msgspec.msgpack.Decoder(AnyRequest)
LAST_REQUEST: Final = max(kind.__struct_config__.tag for kind in get_args(AnyRequest))
"""The highest tag of a request, for the node's hello."""
LEASES: Final = "leases"
FEATURES: Final = (LEASES,)
"""Fields that were added to requests and must not be overlooked, for the node's hello: a node of an older version does
not see a field that it does not know, and would make a value of thirty seconds one for ever.
"""
_answers: Final[msgspec.msgpack.Decoder[Answer]] = msgspec.msgpack.Decoder(Answer)
_hello: Final = msgspec.msgpack.Decoder(ClientHello)
_head: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])


def framed(message: Message) -> bytes:
    """The message as a whole frame. Raises FrameError if it is too large."""
    return frame(encode_part(message))


def first_frame(payload: bytes) -> ClientHello | bytes:
    """What the first frame of a connection is: a client's hello, or a peer's message, given back as it came.

    Raises WireError if it is neither.
    """
    tag = _tag(payload)
    if tag is None:
        raise WireError("the first message is neither a client's nor a peer's")
    if tag < FIRST_TAG:
        return payload
    try:
        return _hello.decode(payload)
    except (msgspec.MsgspecError, RecursionError) as err:
        raise WireError(f"the first message of a client is a hello: {err}") from None


def _tag(payload: bytes) -> int | None:
    """The small number that an array starts with; None if it is no such array."""
    if not payload:
        return None
    start = 1 if 0x90 < payload[0] <= 0x9F else 3 if payload[0] == 0xDC else 0
    if not start or len(payload) <= start or payload[start] > 0x7F:
        return None
    return payload[start]


def decode_request(payload: bytes) -> AnyRequest:
    """A request. Raises WireError, TooOld for one of a kind that this version does not know."""
    try:
        return _requests.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as err:
        tag = _tag(payload)
        if tag is not None and tag > LAST_REQUEST:
            raise TooOld(f"this node is too old for the request {tag}; upgrade it") from None
        raise WireError(f"not a request: {err}") from None


def decode_answer(payload: bytes) -> Answer | None:
    """An answer; None for one of a kind that this version does not know. Raises WireError."""
    try:
        return _answers.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as err:
        tag = _tag(payload)
        if tag is not None and tag not in _ANSWER_TAGS:
            return None
        raise WireError(f"not an answer: {err}") from None


_ANSWER_TAGS: Final = frozenset({65, *range(96, 107)})


def id_of(payload: bytes) -> int:
    """The id of a request that cannot be decoded, to refuse it by; 0 if not even that is there."""
    try:
        fields = _head.decode(payload)
        found = msgspec.msgpack.decode(fields[1])
    except (msgspec.MsgspecError, IndexError, RecursionError):
        return 0
    return found if isinstance(found, int) else 0


def choose_protocol(low: int, high: int) -> int | None:
    """The version to speak with a client that speaks `low` to `high`; None if there is none in common."""
    best = min(high, PROTOCOL_MAX)
    return best if best >= max(low, PROTOCOL_MIN) else None


class Needs(NamedTuple):
    """What a request asks of a node: to take requests up to this tag, and to know this feature (empty: none)."""

    tag: int
    feature: str
    what: str
    """What that is, for people: the node is too old for it."""


NEWER: Final[Mapping[type[Message], str]] = {
    p.Backup: "backups",
    p.Compact: "compacting its store",
    ip.History: "history",
    ip.Prints: "comparing",
    ip.Held: "comparing",
    ip.Lacks: "comparing",
    ip.Verify: "verifying",
    ip.Aside: "showing its quarantine",
    ip.Restore: "giving back from its quarantine",
    ip.Discard: "emptying its quarantine",
    ip.Diagnose: "diagnosing itself",
}
"""The requests that not every version takes, in words."""


_NEEDS: Final = {kind: Needs(kind.__struct_config__.tag, "", NEWER.get(kind, "")) for kind in get_args(AnyRequest)}
_NEEDS_LEASES: Final = _NEEDS[p.Batch]._replace(feature=LEASES, what=LEASES)


def needs_of(request: Message) -> Needs:
    """What a node needs to understand this request as it is meant."""
    if isinstance(request, p.Batch) and any(op.ttl_ms is not None for op in request.ops):
        return _NEEDS_LEASES
    return _NEEDS[type(request)]


def is_served(needs: Needs, node: ServerHello) -> bool:
    """Whether a node, by its hello, will do."""
    return needs.tag <= node.requests and (not needs.feature or needs.feature in node.features)


def serves_all(node: ServerHello) -> bool:
    """Whether a node takes all requests there are, so that none of them has to be looked at."""
    return node.requests >= LAST_REQUEST and set(FEATURES) <= set(node.features)


# -- shared rules --------------------------------------------------------------------------------------------


def cost_of(rows: int, payload_bytes: int) -> int:
    """The credits that a message of a stream costs, by its rows and the size of its payload."""
    return rows + (payload_bytes >> 10)


def ranges_of(known: Known) -> dict[str, tuple[int, ...]]:
    """Known ticks for the wire."""
    return {inc: ticks.bounds for inc, ticks in known.map.items()}


def known_of(ranges: Ranges) -> Known:
    """Known ticks from the wire. Raises WireError."""
    known: dict[str, Ticks] = {}
    for inc, bounds in ranges.items():
        if not is_incarnation(inc):
            raise WireError(f"{inc!r} is no incarnation")
        try:
            known[inc] = Ticks.checked(bounds)
        except ValueError as err:
            raise WireError(f"of {inc}: {err}") from None
    return Known(known)


def reading_print(key: bytes, dots: Sequence[tuple[str, int]]) -> int:
    """The part of one entry in a watch's fingerprint, which is their xor: a 64-bit hash over key and live dots; 0 if
    there is none.
    """
    if len(dots) == 1:
        text = b"%b\xff%b:%d" % (key, dots[0][0].encode(), dots[0][1])
    elif dots:
        text = key + b"\xff" + ",".join(sorted(f"{inc}:{tick}" for inc, tick in dots)).encode()
    else:
        return 0
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")
