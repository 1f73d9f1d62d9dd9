"""The networks of the torture against one contract: of namespaces wherever the system allows them, and of proxies."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import combinations, permutations
from pathlib import Path
from typing import Final

import pytest

from kvnode.testing.processes import environment
from kvnode.testing.torture.namespaces import why_not
from kvnode.testing.torture.network import Cut, Network, between, one_way, partition
from kvnode.testing.torture.networks import open_network

HOSTS: Final = ("a", "b", "c", "d")
WAIT_S: Final = 30.0
SPEAKER: Final = Path(__file__).parent.parent / "support" / "speaker.py"


class Speaker:
    """The program on one host; `heard` is what it has printed so far, as (from, text)."""

    def __init__(self, host: str, network: Network) -> None:
        self.host = host
        self.place = network.place(host)
        self.heard: list[tuple[str, str]] = []
        self._news: queue.Queue[str] = queue.Queue()
        command = [*self.place.wrapper, sys.executable, "-S", str(SPEAKER), host, self.place.listen]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert self._news.get(timeout=WAIT_S) == "ready"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._news.put(line.strip())
        self._news.put("")

    def _do(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def dial(self, other: Speaker) -> None:
        peers = [host for host in HOSTS if host != self.host]
        self._do(f"dial {other.host} {self.place.peers[peers.index(other.host)]}")

    def say(self, other: Speaker, text: str) -> None:
        self._do(f"say {other.host} {text}")

    def until_heard(self, other: Speaker, text: str) -> None:
        while (other.host, text) not in self.heard:
            name, _, found = self._news.get(timeout=WAIT_S).partition(" ")
            assert name, "the speaker has ended"
            self.heard.append((name, found))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


class Bench:
    """A network with a speaker on each host; the first of each two in the alphabet has dialled."""

    def __init__(self, network: Network, stack: ExitStack) -> None:
        self.network = network
        self.speakers: dict[str, Speaker] = {}
        for host in HOSTS:
            self.speakers[host] = Speaker(host, network)
            stack.callback(self.speakers[host].close)
        for source, sink in combinations(HOSTS, 2):
            self.speakers[source].dial(self.speakers[sink])
        self.await_all(permutations(HOSTS, 2), "linked")

    def say_all(self, pairs: Iterable[Cut], text: str) -> None:
        for source, sink in pairs:
            self.speakers[source].say(self.speakers[sink], text)

    def await_all(self, pairs: Iterable[Cut], text: str) -> None:
        for source, sink in pairs:
            self.speakers[sink].until_heard(self.speakers[source], text)

    def heard(self, text: str) -> set[Cut]:
        """Where `text` has arrived."""
        return {(name, host) for host, one in self.speakers.items() for name, found in one.heard if found == text}

    def check(self, cuts: frozenset[Cut], text: str) -> None:
        """With these cuts nothing passes there, and everything else does; after healing, what was sent arrives late."""
        everywhere = set(permutations(HOSTS, 2))
        self.network.block(cuts)
        self.say_all(cuts, text)
        self.say_all(everywhere - cuts, text)
        self.await_all(everywhere - cuts, text)
        assert self.heard(text) == everywhere - cuts
        self.network.block(())
        self.await_all(everywhere, text)
        self.say_all(everywhere, f"after {text}")  # acknowledges what came late, so that TCP no longer holds back
        self.await_all(everywhere, f"after {text}")


KINDS: Final = ["proxies", "namespaces"] if why_not() is None else ["proxies"]


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with open_network(HOSTS, request.param) as network, ExitStack() as stack:
        yield Bench(network, stack)


def test_which_networks_are_tested_here(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\nnetworks under contract: {', '.join(KINDS)}; {why_not() or 'namespaces are possible'}\n")
    assert (why_not() is None) == ("namespaces" in KINDS)
    with open_network(["a", "b"]) as network:
        assert network.kind == KINDS[-1], "auto takes the most real one"


def test_cuts_of_all_shapes(bench: Bench) -> None:
    bench.check(frozenset(), "free")
    bench.check(one_way("a", "b"), "one-way")
    bench.check(one_way("b", "a"), "other-way")
    bench.check(between("a", "bcd"), "alone")
    bench.check(partition("ab", "cd"), "halves")
    bench.check(partition("abc", "bcd"), "bridges")
    bench.check(partition("a", "b", "c", "d"), "nobody")


def test_one_cut_replaces_the_other(bench: Bench) -> None:
    bench.network.block(partition("ab", "cd"))
    bench.network.block(partition("ac", "bd"))
    bench.say_all([("a", "b")], "x")
    bench.say_all([("a", "c")], "x")
    bench.await_all([("a", "c")], "x")
    assert bench.heard("x") == {("a", "c")}


def test_who_dials_during_a_cut_gets_through_after_it(bench: Bench) -> None:
    a, b = bench.speakers["a"], bench.speakers["b"]
    a.heard.clear()
    b.heard.clear()
    bench.network.block(one_way("b", "a"))
    b.dial(a)
    bench.say_all([("c", "a")], "x")
    bench.await_all([("c", "a")], "x")
    assert ("b", "linked") not in a.heard
    bench.network.block(())
    a.until_heard(b, "linked")


def test_the_shapes() -> None:
    assert partition("ab", "c") == between("ab", "c") == {("a", "c"), ("c", "a"), ("b", "c"), ("c", "b")}
    assert partition("ab", "bc") == between("a", "c")
    assert partition("abc") == frozenset()


LEFT_ALONE: Final = """
import signal, subprocess, sys
from kvnode.testing.torture.networks import open_network
with open_network(["a", "b"], "namespaces") as network:
    child = subprocess.Popen([*network.place("a").wrapper, "sleep", "1000"])
    print(child.pid, flush=True)
    sys.stdin.read()
"""

if why_not() is None:

    @pytest.mark.parametrize("how", ["killed", "ended"])
    def test_what_runs_in_a_namespace_ends_with_the_test_process(how: str) -> None:
        command = [sys.executable, "-c", LEFT_ALONE]
        with subprocess.Popen(
            command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as test:
            assert test.stdin is not None
            assert test.stdout is not None
            process = Path("/proc", test.stdout.readline().strip())
            assert process.name
            assert process.exists()
            if how == "killed":
                test.kill()
            else:
                test.stdin.close()
        until = time.monotonic() + WAIT_S
        while process.exists() and " Z " not in (process / "stat").read_text():  # nobody may be there to reap it
            assert time.monotonic() < until, "it still runs"
            time.sleep(0.01)
