"""What released versions wrote, to disk and to the wire, as today's code reads it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgpack
import pytest

from kvnode.cli.dump import dump_row, known_row
from kvnode.cli.render import canonical_json
from kvnode.client import protocol as p
from kvnode.client import wire
from kvnode.codec import peer
from kvnode.core import messages as m
from kvnode.core.effects import Loaded, Now
from kvnode.core.replica import Replica
from kvnode.core.ticks import Known
from kvnode.store.logged import LoggedStore
from kvnode.testing.processes import environment
from tests.support.releases import RELEASES, VERSIONS, Frame, copied_store, environment_of, frames, unpacked, wheel_of
from tests.support.surface import surface

pytestmark = pytest.mark.parametrize("version", VERSIONS)


def test_the_wheel_is_the_one_that_the_readme_names(version: str) -> None:
    text = (RELEASES / "README.md").read_text(encoding="utf-8")
    assert sha256(wheel_of(version).read_bytes()).hexdigest() in text


# -- what programs and people rely on ------------------------------------------------------------------------


TAKEN_BACK: frozenset[str] = frozenset()
"""What a release had and today's code has not. Each needs a line in CHANGELOG.md, and before 1.0 only a good reason."""


def test_nothing_that_a_release_offered_is_gone(version: str, tmp_path: Path) -> None:
    """Names, options, settings and exit codes. What they mean is tested where they are."""
    program = Path(__file__).parents[1] / "support" / "surface.py"
    env = environment(environment_of(unpacked(version, tmp_path)))
    told = subprocess.run([sys.executable, str(program)], env=env, capture_output=True, text=True, check=True).stdout
    then, now = json.loads(told), surface()
    assert then.keys() == now.keys()
    assert len(then["commands"]) > 100
    gone = {f"{kind}: {name}" for kind, names in then.items() for name in set(names) - set(now[kind])}
    assert gone == TAKEN_BACK


# -- stores --------------------------------------------------------------------------------------------------


def read_store(directory: Path) -> tuple[Loaded, list[tuple[bytes, bytes]]]:
    store = LoggedStore(directory)
    try:
        loaded = store.load()
        return loaded, list(loaded.rows)
    finally:
        store.close()


def expected_lines(version: str, file: str) -> list[str]:
    return (RELEASES / version / file).read_text(encoding="utf-8").splitlines()


def test_a_store_reads_as_then(version: str, tmp_path: Path) -> None:
    loaded, rows = read_store(copied_store(version, tmp_path))
    assert not loaded.doubts
    now = time.time_ns() // 1_000_000
    found = [row for key, record in rows if (row := dump_row(key, record, now)) is not None]
    assert [canonical_json(row) for row in found] == expected_lines(version, "dump.jsonl")


def test_nothing_of_a_store_is_lost_or_changed(version: str, tmp_path: Path) -> None:
    """Deletes, tick vectors and known ticks included."""
    loaded, rows = read_store(copied_store(version, tmp_path))
    now = time.time_ns() // 1_000_000
    found = [known_row(Known(loaded.known))] + [dump_row(key, record, now, with_record=True) for key, record in rows]
    assert [canonical_json(row) for row in found] == expected_lines(version, "records.jsonl")


def test_a_store_is_migrated_once_and_stays_readable(version: str, tmp_path: Path) -> None:
    place = copied_store(version, tmp_path)
    assert read_store(place)[1] == read_store(place)[1]


def test_the_fixture_holds_what_it_should(version: str) -> None:
    rows = [json.loads(line) for line in expected_lines(version, "records.jsonl")[1:]]
    siblings = {row["path"]: len(row["versions"]) for row in rows}
    assert {"gone.one": 0, "gone.back": 1, "room.temp": 2, "expires.in2000": 0, "expires.in2100": 1}.items() <= (
        siblings.items()
    )
    assert not [path for path in siblings if path.startswith("live.")], "volatile values are not stored"
    assert {"@.policy.limit", "@.volatile.live", "kinds.big", "kinds.path", "kinds.none"} <= siblings.keys()


def test_hashes_of_a_store_are_those_that_went_over_the_wire(version: str, tmp_path: Path) -> None:
    """Else a node would find a difference to every older peer, for ever."""
    loaded, rows = read_store(copied_store(version, tmp_path, "peer-store"))
    again = Loaded(iter(rows), loaded.known, loaded.meta, ())
    replica = Replica("b", session=1, random_bits=random.Random(1).getrandbits, now=Now(0, 0), loaded=again)
    said = [f for f in frames(version, "peer.frames") if f.connection == 4 and f.way == ">"]
    hello, check = decoded(said, "Hello"), decoded(said, "Check")
    assert isinstance(hello, m.Hello)
    assert isinstance(check, m.Check)
    assert replica.known.hash() == hello.known_hash == check.known_hash
    assert replica.tree.print_of_all == check.fingerprint


def decoded(among: list[Frame], name: str) -> m.Message:
    return peer.decode(next(f.payload for f in among if f.name == name)).message


# -- the wire ------------------------------------------------------------------------------------------------


def extends(new: Any, old: Any) -> bool:
    """Whether `new` is `old`, or has more fields behind those that `old` has."""
    if isinstance(new, list) and isinstance(old, list):
        return len(new) >= len(old) and all(extends(*pair) for pair in zip(new, old, strict=False))
    return bool(new == old)


def parsed(payload: bytes) -> Any:
    return msgpack.unpackb(payload, strict_map_key=False)


def test_what_peers_said_means_the_same(version: str) -> None:
    recorded = list(frames(version, "peer.frames"))
    for frame in recorded:
        seq, message = peer.decode(frame.payload)
        assert type(message).__name__ == frame.name
        assert extends(parsed(peer.encode(seq, message)), parsed(frame.payload)), frame.name
    assert {f.name for f in recorded} >= {kind.__name__ for kind in PEER_MESSAGES_OF_0_1}


PEER_MESSAGES_OF_0_1 = (
    m.Hello,
    m.Digest,
    m.DigestAsk,
    m.DigestBuckets,
    m.DigestParts,
    m.Versions,
    m.End,
    m.Ack,
    m.PrintAsk,
    m.PrintTell,
    m.PathAsk,
    m.PathTell,
    m.Event,
    m.Check,
    m.Ping,
    m.Pong,
    m.PingReq,
    m.PingAck,
)


def test_what_was_written_then_is_relayed_byte_for_byte(version: str) -> None:
    """The body of a version, which hashes and fingerprints cover, and its signature."""
    seen = 0
    for frame in frames(version, "peer.frames"):
        _, message = peer.decode(frame.payload)
        if isinstance(message, m.Versions):
            _, (_, _, items) = parsed(frame.payload)
            assert [(v.body, v.sig) for v in message.versions] == [(item[3], item[4]) for item in items]
            again = parsed(peer.encode(0, message))[1][2]
            assert [item[3:5] for item in again] == [item[3:5] for item in items]
            seen += len(items)
    assert seen > 20


def test_what_clients_and_nodes_said_means_the_same(version: str) -> None:
    recorded = list(frames(version, "client.frames"))
    for frame in recorded:
        message = client_message(frame)
        assert type(message).__name__ == frame.name
        assert extends(parsed(wire.encode_part(message)), parsed(frame.payload)), frame.name
    requests = {kind.__name__ for kind in vars(p).values() if 64 <= tag_of(kind) <= 80}
    answers = {kind.__name__ for kind in vars(p).values() if 96 <= tag_of(kind) <= 105}
    assert {f.name for f in recorded} >= requests | answers


REVIEWED = {
    ("Batch", "ops", "ttl_ms"): "a feature of the node's hello: refused",
    ("Batch", "ops", "if_changed"): "harmless: the value is written though it is the same",
    ("Tree", "keys"): "harmless: values come that nobody asked for",
    ("Watch", "keys"): "harmless: values come that nobody asked for",
}
"""Fields that were added to old requests, and what becomes of them at a node that does not know them."""


def test_what_was_added_to_a_request_does_no_harm_at_an_older_node(version: str) -> None:
    """A new field needs a look at what an older node does with the request without it. If that is not what was meant,
    the field belongs into :data:`kvnode.client.wire.FEATURES`.
    """
    added: set[tuple[str, ...]] = set()
    for frame in frames(version, "client.frames"):
        kind = getattr(p, frame.name)
        tag, *fields = parsed(frame.payload)
        if frame.way == ">" and 66 <= tag <= 80:
            added |= {(frame.name, name) for name in kind.__struct_fields__[len(fields) :]}
        if frame.name == "Batch":
            added |= {("Batch", "ops", name) for name in p.Op.__struct_fields__[len(fields[1][0]) :]}
    assert added == set(REVIEWED)


def tag_of(kind: object) -> int:
    config = getattr(kind, "__struct_config__", None)
    tag = getattr(config, "tag", None)
    return tag if isinstance(tag, int) else 0


def client_message(frame: Frame) -> p.Message:
    readers: dict[str, Callable[[bytes], Any]] = {">": wire.decode_request, "<": wire.decode_answer}
    if frame.name == "ClientHello":
        hello = wire.first_frame(frame.payload)
        assert isinstance(hello, p.ClientHello)
        return hello
    way = "<" if frame.name == "Pong" else frame.way
    message: p.Message = readers[way](frame.payload)
    return message
