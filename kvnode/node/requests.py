"""Requests of clients: what is checked before anything is done, and errors as answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvnode.client import protocol as p
from kvnode.codec.values import ValueCodecError, unpack
from kvnode.core.effects import Change
from kvnode.core.path import Path, PathError, Pattern, checked_key, pattern
from kvnode.core.replica import Replica
from kvnode.core.ticks import Dot, Incarnation, Known, durable_twin, is_volatile, name_of

from .errors import AckTimeout, NodeError, RefusedError, StoreUnavailable
from .rows import Scope


class RequestError(Exception):
    """A request that is answered with Fail."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def obtainable(context: Known, replica: Replica) -> Known:
    """What of a context this node can still come to know: volatile ticks of a run that is over may be lost (R7)."""
    state = replica.state

    def is_over(inc: Incarnation) -> bool:
        former = name_of(inc) == state.name and durable_twin(inc) != state.inc
        return is_volatile(inc) and (former or state.is_closed(inc))

    return Known({inc: ticks for inc, ticks in context.map.items() if not is_over(inc)})


def lacking(wanted: Known, known: Known) -> Known:
    """What of `wanted` is not in `known`."""
    missing = {inc: ticks - known[inc] for inc, ticks in wanted.map.items()}
    return Known({inc: ticks for inc, ticks in missing.items() if ticks})


def behind(knows: bool, wait_s: float) -> str:
    """Why a resumed watch is reset, for people; `knows` if the node knows the context but is itself in doubt (R5)."""
    if knows:
        return f"the node has yet to catch up with its peers after its store was in doubt (waited {wait_s:g} s)"
    return f"the node does not know all that was seen before (waited {wait_s:g} s): readings may have gone back"


def failure(id: int, err: NodeError) -> p.Fail:
    """The answer for an error of the node."""
    fields: dict[str, Any] = {}
    if isinstance(err, RefusedError):
        fields = {"path": str(err.path), "dots": sorted(err.dots)}
    elif isinstance(err, AckTimeout):
        fields = {"dots": list(err.dots), "stamps": [w.stamp for w in err.wrote], "level": err.level}
        fields["missing"] = list(err.missing)
    elif isinstance(err, StoreUnavailable):
        fields = {"dots": list(err.dots)}
    return p.Fail(id, err.code, str(err), fields)


def checked_path(elements: p.Elements) -> Path:
    """A path from the wire. Raises RequestError."""
    return _checked(elements)[0]


def _checked(elements: p.Elements) -> tuple[Path, bytes]:
    """A path and its key, which costs half of what making a path does that checks itself."""
    try:
        key = checked_key(elements)
    except PathError as err:
        raise RequestError("bad_path", str(err)) from None
    return tuple.__new__(Path, elements), key


def checked_scope(request: p.Tree | p.Watch | p.Events) -> Scope:
    """What a stream covers. Raises RequestError."""
    fits: Pattern | None = None
    if request.pattern is not None:
        try:
            fits = pattern(request.pattern)
        except PathError as err:
            raise RequestError("bad_path", str(err)) from None
    return Scope(checked_path(request.path), fits, request.depth)


def check_value(value: bytes) -> None:
    """Raises RequestError if these bytes are no value."""
    try:
        unpack(value)
    except ValueCodecError as err:
        raise RequestError("bad_value", str(err)) from None


def checked_changes(ops: Sequence[p.Op], author: str) -> list[Change]:
    """The writes of a batch. Raises RequestError."""
    changes: list[Change] = []
    for op in ops:
        value = op.value
        if value is not None:
            check_value(value)
        expect = None if op.expect is None else frozenset([Dot(*dot) for dot in op.expect])
        path, key = _checked(op.path)
        changes.append(Change(path, value, author, expect, op.expiry, None, op.ttl_ms, op.if_changed, key))
    return changes
