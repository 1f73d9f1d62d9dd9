"""What the core and its codec cost, in microseconds of CPU an operation, without disk, sockets and event loop.

    python -m bench.core              all of it, in about twenty seconds
    python -m bench.core put receive  only the rows whose name holds one of these words

Each row is the best of several rounds in this process: what the code needs, with the least of what else the machine
does. Values are text of 100 bytes. "two peers" means that two links stand and are offered each change.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b

import msgspec

from kvnode.codec import peer
from kvnode.core.effects import Change, Effect, Loaded, Now, Persist, Send
from kvnode.core.entry import Version, decode_record, encode_record, fingerprint
from kvnode.core.messages import Versions
from kvnode.core.path import Path
from kvnode.core.replica import Replica

ROUNDS_MS = 400
"""A row goes on for so long, in milliseconds of CPU, but for three rounds at least."""
KEYS = 1_000
ROUND = 100
"""Operations in a round: few, so that some rounds are not interrupted."""
LOADED = 100_000
VALUE = msgspec.msgpack.encode("x" * 100)
BEGIN = Now(1_000, 1_700_000_000_000)


def paths(count: int, below: str = "b") -> list[Path]:
    return [Path.parse(f"{below}.k{i}") for i in range(count)]


def settle(replica: Replica, now: Now) -> list[Effect]:
    """Take the effects; what is to be stored is stored at once."""
    effects = replica.take_effects()
    for effect in effects:
        if isinstance(effect, Persist):
            replica.persisted(effect.token, now)
    return effects


class Mesh:
    """Replicas that are all linked to one another, through the codec, by links that lose nothing."""

    def __init__(self, *names: str, loaded: Loaded | None = None) -> None:
        self.now = BEGIN
        self.nodes = {
            name: Replica(
                name,
                session=n + 1,
                random_bits=random.Random(n).getrandbits,
                now=self.now,
                loaded=loaded if n == 0 else None,
            )
            for n, name in enumerate(names)
        }
        self.ends: dict[tuple[str, int], str] = {}
        self.held: deque[tuple[str, int, bytes]] = deque()
        for link, (one, other) in enumerate((a, b) for a in names for b in names if a < b):
            self.ends[one, link], self.ends[other, link] = other, one
            self.nodes[one].linked(link, self.now, dialled=True)
            self.nodes[other].linked(link, self.now, dialled=False)
        for name, node in self.nodes.items():
            node.set_addresses([f"{name}:1"], self.now)
        self.run(60_000)

    def write(self, name: str, where: list[Path]) -> None:
        self.nodes[name].propose([Change(path, VALUE, "me") for path in where], self.now)

    def collect(self, name: str) -> bool:
        """Take a node's effects; what it sends waits, encoded."""
        sent = [e for e in settle(self.nodes[name], self.now) if isinstance(e, Send)]
        self.held += ((self.ends[name, e.link], e.link, peer.encode(e.seq, e.message)) for e in sent)
        for link in {e.link for e in sent}:
            self.nodes[name].writable(link, self.now)
        return bool(sent)

    def deliver(self) -> None:
        """Hand over all that waits, and what comes of it, until nothing moves."""
        moving = True
        while moving:
            while self.held:
                name, link, payload = self.held.popleft()
                seq, message = peer.decode(payload)
                self.nodes[name].receive(link, seq, message, self.now)
            moving = sum(self.collect(name) for name in self.nodes) > 0

    def run(self, ms: int, step: int = 5) -> None:
        """Let time pass."""
        self.deliver()
        end = self.now.mono + ms
        while self.now.mono < end:
            due = [node.next_deadline for node in self.nodes.values()]
            there = max(self.now.mono + step, min([*due, end]))
            self.now = Now(there, self.now.wall + there - self.now.mono)
            for node in self.nodes.values():
                node.wake(self.now)
            self.deliver()


class Bench:
    """Measures and prints."""

    def __init__(self, wanted: list[str]) -> None:
        self.wanted = wanted

    def row(
        self, name: str, operations: int, do: Callable[[], object], before: Callable[[], object] = lambda: None
    ) -> None:
        """The cost of `do`, which makes so many operations; `before` is run before each round and not counted."""
        if self.wanted and not any(word in name for word in self.wanted):
            return
        took: list[int] = []
        while len(took) < 3 or sum(took) < ROUNDS_MS * 1_000_000:
            before()
            began = time.process_time_ns()
            do()
            took.append(time.process_time_ns() - began)
        best = min(took)
        print(f"{name:58} {best / operations / 1_000:8.2f} us", flush=True)


def reference(bench: Bench) -> None:
    """What says how fast this machine is at the moment, so that rows of different runs can be compared."""
    seen: dict[bytes, int] = {}

    def work() -> None:
        for n in range(ROUND):
            seen[blake2b(VALUE + n.to_bytes(2, "big"), digest_size=8).digest()] = len(seen)

    bench.row("reference: a hash of 100 bytes into a dict", ROUND, work)


def puts(bench: Bench) -> None:
    """Writes at one node, alone and with peers that are offered each of them."""
    for peers, node, now in alone_and_linked():
        turns = some(paths(KEYS))

        def single(node: Replica = node, now: Now = now, turns: Iterator[list[Path]] = turns) -> None:
            for path in next(turns):
                node.propose([Change(path, VALUE, "me")], now)
                settle(node, now)
                drain(node, now)

        def batch(turns: Iterator[list[Path]], node: Replica = node, now: Now = now) -> None:
            node.propose([Change(path, VALUE, "me") for path in next(turns)], now)
            settle(node, now)
            drain(node, now)

        for _ in range(KEYS // ROUND):
            batch(turns)
        bench.row(f"put, one at a time{peers}", ROUND, single)
        bench.row(f"put, batches of {ROUND}{peers}", ROUND, partial(batch, turns))
        bench.row(f"put, batches of {ROUND}, new keys{peers}", ROUND, partial(batch, new_paths()))


def some(all_of_them: list[Path]) -> Iterator[list[Path]]:
    """The same paths over and over, as many as are in a round."""
    while True:
        for start in range(0, len(all_of_them), ROUND):
            yield all_of_them[start : start + ROUND]


def alone_and_linked() -> Iterator[tuple[str, Replica, Now]]:
    yield "", Replica("A", session=1, random_bits=random.Random(1).getrandbits, now=BEGIN), BEGIN
    mesh = Mesh("A", "B", "C")
    yield ", two peers", mesh.nodes["A"], mesh.now


def drain(node: Replica, now: Now) -> None:
    """The links' queues are empty again."""
    for link in node.links:
        node.writable(link, now)


def new_paths() -> Iterator[list[Path]]:
    for n in range(1_000_000):
        yield paths(ROUND, f"new{n}")


def codec(bench: Bench) -> None:
    """Peer messages of one version and of many."""
    for count in (1, ROUND):
        message = Versions(tuple(sample(count)))
        payload = peer.encode(7, message)
        many = ROUND // count
        bench.row(f"encode, {count} in a message", ROUND, repeated(many, partial(encode_anew, message)))
        bench.row(f"decode, {count} in a message", ROUND, repeated(many, partial(peer.decode, payload)))
    (version,) = sample(1)
    record = encode_record((version,))
    bench.row("record: encode", ROUND, repeated(ROUND, partial(encode_record, (version,))))
    bench.row("record: decode", ROUND, repeated(ROUND, partial(decode_record, record)))
    bench.row("fingerprint", ROUND, repeated(ROUND, partial(fingerprint, version)))


def encode_anew(message: Versions) -> bytes:
    """As for the first one of the links that it goes to."""
    return peer.Encoder().encode(7, message)


def repeated(times: int, do: Callable[[], object]) -> Callable[[], None]:
    def work() -> None:
        for _ in range(times):
            do()

    return work


def sample(count: int) -> list[Version]:
    node = Replica("A", session=1, random_bits=random.Random(1).getrandbits, now=BEGIN)
    node.propose([Change(path, VALUE, "me") for path in paths(count)], BEGIN)
    return [node.tree.at(path)[0] for path in paths(count)]


def receiving(bench: Bench) -> None:
    """Versions that come from another node: decoded, merged, offered on, stored."""
    for count in (1, ROUND):
        for what, turns in (("overwritten", some(paths(KEYS))), ("new keys", new_paths())):
            mesh = Mesh("A", "B", "C")
            waiting: list[tuple[int, bytes]] = []

            def write(
                mesh: Mesh = mesh,
                turns: Iterator[list[Path]] = turns,
                waiting: list[tuple[int, bytes]] = waiting,
                count: int = count,
            ) -> None:
                mesh.run(50)
                here = next(turns)
                for start in range(0, ROUND, count):
                    mesh.write("A", here[start : start + count])
                    mesh.collect("A")
                waiting[:] = [(link, payload) for name, link, payload in mesh.held if name == "B"]
                mesh.held = deque(item for item in mesh.held if item[0] != "B")

            def read(mesh: Mesh = mesh, waiting: list[tuple[int, bytes]] = waiting) -> None:
                node = mesh.nodes["B"]
                for link, payload in waiting:
                    seq, message = peer.decode(payload)
                    node.receive(link, seq, message, mesh.now)
                    mesh.collect("B")

            for _ in range(KEYS // ROUND):
                write()
                read()
            bench.row(f"receive and decode, {count} in a message, {what}", ROUND, read, write)


def meshes(bench: Bench) -> None:
    """Three nodes in one process: writes at one of them until all have them and have acknowledged them."""
    for count in (1, ROUND):
        mesh = Mesh("A", "B", "C")
        turns = some(paths(KEYS))

        def spread(mesh: Mesh = mesh, turns: Iterator[list[Path]] = turns, count: int = count) -> None:
            here = next(turns)
            for start in range(0, ROUND, count):
                mesh.write("A", here[start : start + count])
                mesh.run(5)

        for _ in range(KEYS // ROUND):
            spread()
        bench.row(f"three nodes together, {count} each 5 ms", ROUND, spread)


def loading(bench: Bench) -> None:
    """A store of many keys."""
    known = Replica("A", session=1, random_bits=random.Random(1).getrandbits, now=BEGIN)
    for start in range(0, LOADED, 10_000):
        known.propose([Change(path, VALUE, "me") for path in paths(LOADED)[start : start + 10_000]], BEGIN)
    rows = [(key, encode_record(siblings)) for key, siblings in known.tree.scan()]
    stored = Loaded(rows, known.known.map)

    def load() -> Replica:
        return Replica("A", session=2, random_bits=random.Random(2).getrandbits, now=BEGIN, loaded=stored)

    def load_and_compare() -> None:
        """With the fingerprint of all, which the first comparison with a peer needs."""
        assert load().tree.print_of_all == known.tree.print_of_all

    bench.row(f"load, a row of {LOADED}", LOADED, load, gc.collect)
    bench.row(f"load, a row of {LOADED}, and fingerprint of all", LOADED, load_and_compare, gc.collect)
    if not bench.wanted or "memory" in bench.wanted:
        copies = [(bytes(bytearray(key)), bytes(bytearray(record))) for key, record in rows]
        gc.collect()
        tracemalloc.start()
        held = Replica(
            "A",
            session=2,
            random_bits=random.Random(2).getrandbits,
            now=BEGIN,
            loaded=Loaded(((bytes(bytearray(k)), bytes(bytearray(r))) for k, r in copies), known.known.map),
        )
        print(f"{f'memory of a key, {LOADED} loaded':58} {tracemalloc.get_traced_memory()[0] / LOADED:8.0f} bytes")
        tracemalloc.stop()
        assert len(held.tree) == LOADED + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD", help="only rows whose name holds one of these")
    bench = Bench(parser.parse_args().words)
    for part in (reference, puts, codec, receiving, meshes, loading):
        part(bench)


if __name__ == "__main__":
    main()
