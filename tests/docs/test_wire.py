"""schema/wire.cddl and schema/client.cddl describe the messages that there are, and the bytes that really travel."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union

import msgspec
import pytest

from kvnode.client import inspect_protocol as ip
from kvnode.client import protocol as p
from kvnode.client.wire import AnyRequest
from kvnode.codec import peer
from kvnode.core import entry
from kvnode.core import messages as m
from kvnode.core.ticks import Dot
from tests.docs.cddl import Cddl
from tests.support.releases import VERSIONS, frames

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/wire.md").read_text(encoding="utf-8")
CDDL = Cddl("".join((ROOT / f"schema/{name}.cddl").read_text(encoding="utf-8") for name in ("wire", "client")))

PEER_MESSAGES: tuple[type[msgspec.Struct], ...] = typing.get_args(peer._Wire)
CLIENT_MESSAGES: tuple[type[msgspec.Struct], ...] = (p.ClientHello, *typing.get_args(AnyRequest))
NODE_MESSAGES: tuple[type[msgspec.Struct], ...] = typing.get_args(p.Answer)
PARTS: tuple[type[msgspec.Struct], ...] = (
    *(m.AckState, entry.Body, entry.Lease, p.Auth, p.Op, p.Row, p.Sib, p.EventRow),
    *(ip.Recalled, ip.PastRow, ip.Told, ip.Verified, ip.AsideRow),
)
STRUCTS = (*PEER_MESSAGES, *CLIENT_MESSAGES, *NODE_MESSAGES, *PARTS)


def rule_of(kind: type) -> str:
    """`SendEvent` -> `send-event`; a client's ping is not the one of peers."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__.removeprefix("_")).lower()
    return f"client-{name}" if kind in (p.Ping, p.Pong) else name


def samples(kind: Any) -> Iterator[Any]:
    """Some values of a type, each of its alternatives among them."""
    base, args = typing.get_origin(kind) or kind, typing.get_args(kind)
    fixed = {bool: (False, True), int: (0, 1), str: ("equal",), bytes: (b"", b"\x07")}
    if base is typing.Annotated:
        yield from samples(args[0])
    elif base in fixed:
        yield from fixed[base]
    elif kind is type(None) or kind is Any:
        yield None
    elif kind is msgspec.Raw:
        yield msgspec.Raw(b"\x07")
    elif base in (Union, types.UnionType):
        for arg in args:
            yield from samples(arg)
    elif base is tuple and args[-1] is Ellipsis:
        yield from ((), tuple(samples(args[0])))
    elif base is tuple:
        yield from zip_all(args)
    elif kind is Dot:
        yield Dot("a~0123456789abcdef", 5)
    elif issubclass(base, Mapping):
        yield from ({}, {key: value for key in samples(args[0]) for value in samples(args[1])})
    else:
        fields = msgspec.structs.fields(kind)
        yield from (kind(*values) for values in zip_all([f.type for f in fields]))
        yield kind(*(next(samples(f.type)) for f in fields if f.required))


def zip_all(kinds: Any) -> Iterator[tuple[Any, ...]]:
    """Tuples that have each sample of each type at least once."""
    columns = [list(samples(kind)) for kind in kinds]
    for at in range(max(map(len, columns))):
        yield tuple(column[min(at, len(column) - 1)] for column in columns)


def test_each_name_that_is_used_is_a_rule() -> None:
    assert CDDL.unknown == set()


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_fields_are_those_of_the_code(kind: type[msgspec.Struct]) -> None:
    described = CDDL.members[rule_of(kind)]
    tag = kind.__struct_config__.tag
    if tag is not None:
        assert described[0].type(tag)
        assert not described[0].type(None)
        described = described[1:]
    is_map = not kind.__struct_config__.array_like
    fields = [(field.name, "" if field.required or is_map else "?") for field in msgspec.structs.fields(kind)]
    assert [(member.name, member.occurs) for member in described] == fields


@pytest.mark.parametrize(
    ("rules", "kinds"),
    [
        (["peer-message"], PEER_MESSAGES),
        (["client-hello", "request", "inspect-request"], CLIENT_MESSAGES),
        (["node-message"], NODE_MESSAGES),
    ],
)
def test_each_message_is_a_choice(rules: list[str], kinds: tuple[type, ...]) -> None:
    choices = [c for rule in rules for c in ([rule] if rule == "client-hello" else CDDL.choices[rule])]
    assert choices == [rule_of(kind) for kind in kinds]


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_what_is_encoded_is_described(kind: type[msgspec.Struct]) -> None:
    for sample in samples(kind):
        sent = through_bytes(sample)
        assert CDDL.fits(rule_of(kind), sent), sent
        if isinstance(sent, list):
            assert not CDDL.fits(rule_of(kind), [*sent, {"a": "later field"}])
        if kind not in (p.Done, entry.Body):  # they hold anything
            keys = list(sent) if isinstance(sent, dict) else range(len(sent))
            assert not any(CDDL.fits(rule_of(kind), changed(sent, key, 0.5)) for key in keys)


def through_bytes(message: Any) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(message))


def changed(sent: Any, key: Any, value: Any) -> Any:
    copy = sent.copy()
    copy[key] = value
    return copy


@pytest.mark.parametrize("release", VERSIONS)
@pytest.mark.parametrize(("file", "rules"), [("peer", ["payload"]), ("client", ["client-message", "node-message"])])
def test_recorded_sessions_are_described(release: str, file: str, rules: list[str]) -> None:
    recorded = list(frames(release, f"{file}.frames"))
    assert recorded
    for frame in recorded:
        value = msgspec.msgpack.decode(frame.payload)
        assert any(CDDL.fits(rule, value) for rule in rules), (frame.name, value)


def test_the_page_lists_each_message_with_its_tag() -> None:
    rows = re.findall(r"^\| (\d+) \| `([a-z-]+)` \|", PAGE, re.MULTILINE)
    kinds = dict.fromkeys((*PEER_MESSAGES, *CLIENT_MESSAGES, *NODE_MESSAGES))
    tags = sorted((kind.__struct_config__.tag, rule_of(kind)) for kind in kinds)
    assert [(int(tag), name) for tag, name in rows] == tags
