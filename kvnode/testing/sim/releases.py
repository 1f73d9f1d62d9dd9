"""Other releases of the program, as they show on the wire (R11): what a node says is rewritten to what they would say.

======== ====================================================================================================
release  what it sends
======== ====================================================================================================
-1       an older minor version: no optional features, and none of the trailing fields that were added with a default
0        this one
1        a newer minor version: a wider range of protocols, features, trailing fields and messages that nobody
         else knows
2        one that has dropped every protocol that the others speak: it gets no link
======== ====================================================================================================
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec

from kvnode.codec import peer as codec
from kvnode.core.messages import PROTOCOL_MAX, Ack, AckState, Hello, Message

TOO_NEW: Final = 2
_OLDER: Final = -1
_UNKNOWN_TAG: Final = 60
_STRANGE_EVERY: Final = 7
"""A newer node sends one message of an unknown kind before so many others."""

_encode: Final = msgspec.msgpack.encode


class Dialect:
    """How one link's messages of a node of another release look."""

    def __init__(self, release: int) -> None:
        self._release: Final = release
        self._shift = 0

    def say(self, seq: int, message: Message) -> list[tuple[int, bytes]]:
        """What goes over the wire for a message: numbers and payloads."""
        payload = codec.encode(seq, self._hello(message) if isinstance(message, Hello) else message)
        if not self._release:
            return [(seq, payload)]
        _, fields = msgspec.msgpack.decode(payload)
        fields = _older(type(message), fields) if self._release == _OLDER else _newer(type(message), fields)
        out: list[tuple[int, bytes]] = []
        if self._release > 0 and seq % _STRANGE_EVERY == _STRANGE_EVERY - 1:
            out.append(self._numbered(seq, [_UNKNOWN_TAG, "what nobody knows"]))
            self._shift += 1
        return [*out, self._numbered(seq, fields)]

    def _numbered(self, seq: int, fields: list[Any]) -> tuple[int, bytes]:
        return seq + self._shift, _encode((seq + self._shift, fields))

    def _hello(self, hello: Hello) -> Hello:
        if self._release == _OLDER:
            return msgspec.structs.replace(hello, features=())
        newest = PROTOCOL_MAX + self._release
        oldest = newest if self._release == TOO_NEW else hello.protocol_min
        features = (*hello.features, "unheard-of") if self._release else hello.features
        return msgspec.structs.replace(hello, protocol_min=oldest, protocol_max=newest, features=features)


def _newer(kind: type[Message], fields: list[Any]) -> list[Any]:
    """With trailing fields that others do not know."""
    if kind is Ack:
        fields[1] = [[*state, 0] for state in fields[1]]
    return [*fields, {"since": "later"}]


def _older(kind: type[Message], fields: list[Any]) -> list[Any]:
    """Without trailing fields that have their default."""
    if kind is Ack:
        fields[1] = [_trimmed(AckState, state, 0) for state in fields[1]]
    return _trimmed(kind, fields, 1)


@cache
def _defaults(kind: type[msgspec.Struct]) -> tuple[object, ...]:
    return tuple(field.default for field in msgspec.structs.fields(kind))


def _trimmed(kind: type[msgspec.Struct], fields: list[Any], tags: int) -> list[Any]:
    defaults = _defaults(kind)
    while tags < len(fields) <= tags + len(defaults) and fields[-1] == defaults[len(fields) - tags - 1]:
        fields = fields[:-1]
    return fields
