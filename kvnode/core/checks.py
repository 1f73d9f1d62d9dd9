"""What may be written: a change that this node took and others would refuse would never spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from . import marks
from .effects import Change, Now, Refused
from .entry import MAX_DEPTH
from .packed import is_too_deep, opens
from .policy import live
from .state import State
from .ticks import MAX_TICK

MAX_TTL_MS: Final = 100 * 366 * 86_400_000
"""The longest lease, in milliseconds: a hundred years."""
_decode: Final = msgspec.msgpack.Decoder().decode
_KEPT: Final = (("@", "nodes"), ("@", "partial"))


def refusal_of_any(state: State, changes: Sequence[Change], now: Now) -> Refused | None:
    """Why one of these cannot be made; None if all can. A plain write by the author of the one before, outside the
    system's own tree, needs few looks.
    """
    most, full = state.limits.max_value_bytes, state.view is None
    author: str | None = None
    principal: str | None = None
    for change in changes:
        if change.author != author or change.principal != principal or not full or not _is_plain(change, most):
            refused = refusal(state, change, now)
            if refused is not None:
                return refused
            author, principal = change.author, change.principal
    return None


def _is_plain(change: Change, most: int) -> bool:
    """Whether a change of somebody who may write can be made, as far as a short look tells."""
    value, path = change.value, change.path
    if change.expect is not None or change.ttl_ms is not None or change.expiry is not None or not path:
        return False
    return path[0] != "@" and (value is None or (len(value) <= most and unfit_value(value) is None))


def refusal(state: State, change: Change, now: Now) -> Refused | None:
    """Why this change cannot be made; None if it can."""
    path, limits = change.path, state.limits
    if change.value is not None and len(change.value) > limits.max_value_bytes:
        size = f"{len(change.value)} bytes; at most {limits.max_value_bytes} fit"
        return Refused("too_large", path, f"the value has {size}")
    if why := _unfit(change, limits.max_author_bytes):
        return Refused("bad_value", path, why)
    if not path:
        return Refused("reserved", path, "the root holds no value; write to a path below it")
    if path[0] == "@" and path[:2] in _KEPT:
        return Refused("reserved", path, "the node records are kept by the nodes; use 'kv node retire' to remove one")
    if state.view is not None and not state.in_view(path):
        return Refused("reserved", path, "this partial replica does not hold that path")
    if change.expect is None:
        return None
    have = frozenset(v.dot for v in live(state.tree.at(path), now.wall))
    if have == change.expect:
        return None
    marks.hit("cas-refused")
    return Refused("cas_failed", path, "the entry is no longer as it was read", have)


def _unfit(change: Change, max_author_bytes: int) -> str | None:
    """What is wrong with value, author, expiry or time to live; None if nothing is."""
    if change.ttl_ms is not None and not (0 < change.ttl_ms <= MAX_TTL_MS and change.value is not None):
        return (
            f"{change.ttl_ms} is no time to live in milliseconds: above 0, at most {MAX_TTL_MS}, and not for a delete"
        )
    if change.expiry is not None and not 0 <= change.expiry < MAX_TICK:
        return f"{change.expiry} is no time of expiry in milliseconds"
    why = unfit_value(change.value) if change.value is not None else None
    for author in (change.author, change.principal):
        if author and not why:
            why = _unfit_author(author, max_author_bytes)
    return why


def _unfit_author(author: str, most: int) -> str | None:
    try:
        size = len(author) if author.isascii() else len(author.encode())
    except UnicodeEncodeError:
        return f"the author {author!r} is not valid Unicode text"
    return f"the author has {size} bytes; at most {most} fit" if size > most else None


def unfit_value(value: bytes) -> str | None:
    """Why this cannot be stored as a value; None if it can."""
    try:
        if value and opens(value) and is_too_deep(value, MAX_DEPTH):
            return f"the value is nested deeper than {MAX_DEPTH}"
        _decode(value)
    except (ValueError, RecursionError) as err:
        return f"the value is not one MessagePack object: {err}"
    return None
