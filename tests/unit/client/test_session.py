"""The client's session against a scripted node: broken connections, retries, time limits, refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from kvnode.client import (
    ABSENT,
    AckTimeout,
    CasFailed,
    Client,
    Closed,
    Options,
    ProtocolError,
    Put,
    Refused,
    Unavailable,
    connect,
    errors,
)
from kvnode.client import protocol as p
from kvnode.core.ticks import Dot
from kvnode.testing.inprocess import WAIT_S, eventually
from kvnode.testing.served import FAST, Script, ScriptedNode, scripted
from kvnode.transport.address import Address
from kvnode.transport.base import Connection, ConnectionClosed
from kvnode.transport.memory import MemoryTransport
from kvnode.transport.tasks import background_tasks
from kvnode.transport.tcp import TcpTransport

pytestmark = pytest.mark.anyio

INC = "n~0123456789abcdef"
WROTE = ((INC, 1, 65536),)


@asynccontextmanager
async def client_of(*scripts: Script, **options: Any) -> AsyncIterator[tuple[Client, list[ScriptedNode]]]:
    network = MemoryTransport()
    options = {"options": FAST, "random": lambda: 0.0} | options
    with anyio.fail_after(WAIT_S):
        async with (
            scripted(network, "memory:n", *scripts) as seen,
            connect("memory:n", transport=network, **options) as client,
        ):
            yield client, seen


def answering(*answers: p.Message) -> Script:
    """Welcome; answer each request with the next of these (its id put in); then stay silent."""

    async def script(node: ScriptedNode) -> None:
        node.welcome()
        for answer in answers:
            request = await node.next()
            node.send(_with_id(answer, request.id))
        await node.idle()

    return script


def _with_id(answer: p.Message, id: int) -> p.Message:
    return msgspec.structs.replace(answer, id=id)


async def break_after_one(node: ScriptedNode) -> None:
    """Welcome, take one request, and break."""
    node.welcome()
    await node.next()


async def test_the_hello_says_who_calls() -> None:
    async with client_of(answering(), author="tester") as (client, seen):
        hello = seen[0].hello
        assert (hello.protocol_min, hello.protocol_max) == (1, 1)
        assert hello.author == "tester"
        assert hello.auth is None
        assert hello.view is None
        assert client.node == "scripted"
        assert client.is_connected


async def test_nobody_there_is_told_at_once() -> None:
    with pytest.raises(Unavailable, match=r"no node could be reached: memory:x: connection refused") as caught:
        async with connect("memory:x", transport=MemoryTransport()):
            pass
    assert caught.value.code == "unavailable"
    assert caught.value.outcome == errors.NOT_DONE


async def test_all_addresses_are_tried_before_it_gives_up() -> None:
    network = MemoryTransport()
    with pytest.raises(Unavailable, match="memory:x: connection refused; memory:y: connection refused"):
        async with connect(["memory:x", "memory:y"], transport=network):
            pass
    with anyio.fail_after(WAIT_S):
        async with (
            scripted(network, "memory:y", answering(p.Done(0, {"node": "y"}))),
            connect(["memory:x", "memory:y"], transport=network, options=FAST) as client,
        ):
            assert await client.status() == {"node": "y"}


async def test_a_patient_client_waits_for_a_node() -> None:
    network = MemoryTransport()
    with anyio.fail_after(WAIT_S):
        async with connect("memory:n", transport=network, patient=True, options=FAST) as client:
            assert not client.is_connected
            assert client.node == ""
            got: list[Any] = []

            async def ask() -> None:
                got.append(await client.status())

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await anyio.wait_all_tasks_blocked()
                async with scripted(network, "memory:n", answering(p.Done(0, {"late": True}))):
                    await eventually(lambda: bool(got))
            assert got == [{"late": True}]


async def test_a_call_without_a_node_fails_in_its_time() -> None:
    async with connect("memory:n", transport=MemoryTransport(), patient=True, options=FAST) as client:
        with pytest.raises(Unavailable, match="connection refused") as caught:
            await client.set("x", 1, timeout=0.05)
        assert caught.value.outcome == errors.NOT_DONE


@pytest.mark.parametrize(
    ("fail", "kind"),
    [
        (p.Fail(0, "protocol_error", "the client speaks protocol 1 to 1, the node 2 to 3"), ProtocolError),
        (p.Fail(0, "limit", "this node serves 1 clients already"), Refused),
    ],
)
async def test_a_node_that_refuses_the_connection_says_why(fail: p.Fail, kind: type[Exception]) -> None:
    async def refuse(node: ScriptedNode) -> None:
        node.send(fail)
        await node.connection.finish()

    with pytest.raises((kind, Unavailable), match=fail.message) as caught:
        async with client_of(refuse):
            pass
    if kind is ProtocolError:
        assert isinstance(caught.value, ProtocolError)


async def test_what_is_no_node_is_told() -> None:
    async def chatter(connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await connection.finish()

    transport = TcpTransport()
    listener = await transport.listen(Address("tcp", "127.0.0.1", 0))
    async with background_tasks() as tasks:
        tasks.start_soon(listener.serve, chatter)
        with pytest.raises(ProtocolError, match="this is no kvnode connection"):
            async with connect(str(listener.address)):
                pass
        await listener.aclose()


async def test_a_silent_node_is_given_up() -> None:
    options = Options(hello_timeout=0.05)
    with pytest.raises(Unavailable, match=r"connected, but no answer in 0\.05 s"):
        async with client_of(ScriptedNode.idle, options=options):
            pass


async def test_the_first_connection_has_a_time_limit() -> None:
    with pytest.raises(Unavailable, match=r"memory:n: no answer within 0\.05 s"):
        async with client_of(ScriptedNode.idle, timeout=0.05):
            pass


async def test_a_read_is_repeated_when_the_connection_breaks() -> None:
    async with client_of(break_after_one, break_after_one, answering(p.Done(0, {"third": 1}))) as (client, seen):
        assert await client.status() == {"third": 1}
        assert len(seen) == 3


async def test_a_write_that_was_sent_has_an_unknown_outcome() -> None:
    async with client_of(break_after_one, answering(p.Wrote(0, WROTE))) as (client, _):
        with pytest.raises(Unavailable, match="broke before the answer came") as caught:
            await client.set("x", 1)
        assert caught.value.outcome == errors.UNKNOWN
        assert caught.value.fields == {"outcome": "unknown"}
        assert (await client.set("x", 1)).dot == Dot(INC, 1)


async def test_a_write_that_may_be_repeated_is() -> None:
    requests: list[Any] = []

    async def note(node: ScriptedNode) -> None:
        node.welcome()
        requests.append(await node.next())

    async def answer(node: ScriptedNode) -> None:
        await note(node)
        node.send(p.Wrote(requests[-1].id, WROTE))
        await node.idle()

    async with client_of(note, answer) as (client, _):
        written = await client.set("x", 1, idempotent=True)
        assert written.dot == Dot(INC, 1)
        assert requests[0] == requests[1]


@pytest.mark.parametrize("expect", [ABSENT, frozenset({Dot(INC, 3)})])
@pytest.mark.parametrize("call", ["set", "delete", "batch"])
async def test_a_compare_and_set_is_not_repeated(call: str, expect: Any) -> None:
    """A node that was killed after it had passed the first try on would take a second one, and both would stand."""
    async with client_of(break_after_one, answering(p.Wrote(0, WROTE))) as (client, _):
        writes = {
            "set": lambda: client.set("x", 1, expect=expect),
            "delete": lambda: client.delete("x", expect=expect),
            "batch": lambda: client.batch([Put("x", 1, expect=expect)]),
        }
        with pytest.raises(Unavailable) as caught:
            await writes[call]()
        assert caught.value.outcome == errors.UNKNOWN


async def test_a_repeated_compare_and_set_that_fails_may_have_met_itself() -> None:
    failed = answering(p.Fail(0, "cas_failed", "the entry is no longer as it was read", {"dots": []}))
    async with client_of(break_after_one, failed) as (client, _):
        with pytest.raises(Unavailable, match="could not be repeated") as caught:
            await client.set("x", 1, expect=frozenset(), idempotent=True)
        assert caught.value.outcome == errors.UNKNOWN


async def test_a_write_not_sent_yet_waits_for_the_connection() -> None:
    async def leave(node: ScriptedNode) -> None:
        node.welcome()
        await node.connection.finish()

    go = anyio.Event()

    async def come_later(node: ScriptedNode) -> None:
        await go.wait()
        await answering(p.Wrote(0, WROTE))(node)

    wrote: list[Dot] = []
    options = Options(backoff_first=0.005)
    async with client_of(leave, come_later, options=options) as (client, seen), anyio.create_task_group() as tasks:
        await eventually(lambda: len(seen) == 2 and not client.is_connected)

        async def write() -> None:
            wrote.append((await client.set("x", 1)).dot)

        tasks.start_soon(write)
        await anyio.wait_all_tasks_blocked()
        assert not wrote
        go.set()
        await eventually(lambda: wrote == [Dot(INC, 1)])
        assert len(seen) == 2


async def test_a_write_to_a_node_that_stops_goes_to_the_next() -> None:
    async def stop(node: ScriptedNode) -> None:
        node.welcome()
        request = await node.next()
        node.send(p.Fail(request.id, "stopping", "the node is stopping"))
        await node.connection.finish()

    async with client_of(stop, stop, answering(p.Wrote(0, WROTE))) as (client, seen):
        assert (await client.set("x", 1)).dot == Dot(INC, 1)
        assert len(seen) == 3


async def test_errors_keep_their_code_and_fields() -> None:
    script = answering(
        p.Fail(0, "cas_failed", "no longer as it was read", {"dots": [[INC, 4]], "path": "x"}),
        p.Fail(0, "ack_timeout", "the change stands", {"dots": [[INC, 7]], "missing": ["b"], "level": "all"}),
        p.Fail(0, "store_unavailable", "the disk is full", {"dots": []}),
        p.Fail(0, "stopping", "the node is stopping"),
        p.Fail(0, "something_new", "a later version's"),
    )
    async with client_of(script) as (client, _):
        with pytest.raises(CasFailed) as cas:
            await client.set("x", 1, expect=[Dot(INC, 3)])
        assert cas.value.dots == (Dot(INC, 4),)
        with pytest.raises(AckTimeout) as ack:
            await client.set("x", 1, ack="all")
        assert (ack.value.dot, ack.value.missing) == (Dot(INC, 7), ("b",))
        with pytest.raises(errors.StoreUnavailable):
            await client.set("x", 1)
        with pytest.raises(Unavailable) as stopping:
            await client.set("x", 1, timeout=0.05)
        assert (stopping.value.code, stopping.value.outcome) == ("stopping", "not_done")
        with pytest.raises(Refused) as new:
            await client.set("x", 1)
        assert new.value.code == "something_new"


async def test_an_answer_that_does_not_come_is_a_time_out() -> None:
    options = Options(grace=0.05)
    async with client_of(answering(), options=options) as (client, seen):
        with pytest.raises(Unavailable, match="did not answer in time") as caught:
            await client.set("x", 1, timeout=0.05)
        assert (caught.value.code, caught.value.outcome) == ("timeout", "unknown")
        assert client.is_connected
        assert len(seen) == 1


async def test_shorter_limits_overtake_longer_ones() -> None:
    over: set[float] = set()

    async def ask(client: Client, timeout_s: float) -> None:
        with pytest.raises(Unavailable):
            await client.set("x", 1, timeout=timeout_s)
        over.add(timeout_s)

    async with client_of(answering(), options=Options(grace=0.0)) as (client, _), anyio.create_task_group() as tasks:
        for timeout_s in (2 * WAIT_S, 0.05, 0.01):
            tasks.start_soon(ask, client, timeout_s)
            await anyio.lowlevel.checkpoint()
        await eventually(lambda: over == {0.01, 0.05})
        tasks.cancel_scope.cancel()


async def test_a_cancelled_call_is_cancelled_at_the_node() -> None:
    requests: list[Any] = []

    async def note(node: ScriptedNode) -> None:
        node.welcome()
        requests.append(await node.next())
        requests.append(await node.next())
        node.send(p.Done(requests[0].id, {"too": "late"}))
        request = await node.next()
        node.send(p.Done(request.id, {"fine": 1}))
        await node.idle()

    async with client_of(note) as (client, _):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.status)
            await eventually(lambda: len(requests) == 1)
            tasks.cancel_scope.cancel()
        assert await client.status() == {"fine": 1}
    assert requests[1] == p.Cancel(requests[0].id)


async def attentive(node: ScriptedNode) -> None:
    """Answer pings and all else."""
    node.welcome()
    while True:
        request = await node.next()
        node.send(p.Pong(request.id) if isinstance(request, p.Ping) else p.Done(request.id, {"attentive": 1}))


async def test_a_silent_connection_is_asked_and_then_given_up() -> None:
    asked: list[Any] = []

    async def silent(node: ScriptedNode) -> None:
        node.welcome()
        try:
            while True:
                asked.append(await node.next())
        except ConnectionClosed:
            return

    options = Options(ping_after=0.1, backoff_first=0.001)
    async with client_of(silent, attentive, options=options) as (client, seen):
        await eventually(lambda: len(seen) >= 2)
        assert await client.status() == {"attentive": 1}
    assert len([a for a in asked if isinstance(a, p.Ping)]) == 1


async def test_a_connection_that_answers_pings_is_kept() -> None:
    pings = 0

    async def alive(node: ScriptedNode) -> None:
        nonlocal pings
        node.welcome()
        try:
            while True:
                request = await node.next()
                if isinstance(request, p.Ping):
                    pings += 1
                    node.send(p.Pong(request.id))
        except ConnectionClosed:
            return

    async with client_of(alive, options=Options(ping_after=0.15)) as (client, seen):
        await eventually(lambda: pings >= 2)
        assert client.is_connected
        assert len(seen) == 1


async def test_calls_beyond_the_output_queue_wait_for_room() -> None:
    """40 writes of 1 MB do not fit the connection's queue of 16 MiB at once."""

    async def slow(node: ScriptedNode) -> None:
        node.welcome()
        await anyio.sleep(0.05)
        try:
            while True:
                request = await node.next()
                node.send(p.Wrote(request.id, WROTE))
        except ConnectionClosed:
            return

    async with client_of(slow) as (client, seen):
        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(client.set, "x", b"x" * 1_000_000)
        assert len(seen) == 1


async def test_more_calls_than_the_bound_are_refused() -> None:
    async with client_of(answering(), options=Options(max_calls=2)) as (client, _), background_tasks() as tasks:
        tasks.start_soon(client.status)
        tasks.start_soon(client.status)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Unavailable, match="2 calls are under way"):
            await client.status()


async def test_a_closed_client_says_so() -> None:
    async with client_of(answering()) as (client, _):
        waiting: list[Exception] = []

        async def wait() -> None:
            try:
                await client.status()
            except Closed as err:
                waiting.append(err)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            client._session.close()
        assert len(waiting) == 1
    with pytest.raises(Closed):
        await client.get("x")
    with pytest.raises(Closed):
        async with client.watch():
            pass


async def test_the_streams_of_a_closed_client_say_so() -> None:
    async with client_of(answering()) as (client, _):
        stream = client.watch()
        await stream.__aenter__()
        ended: list[Exception] = []

        async def wait() -> None:
            try:
                await anext(stream)
            except Closed as err:
                ended.append(err)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            client._session.close()
        assert len(ended) == 2


async def test_what_does_not_fit_a_frame_is_refused_here() -> None:
    async with client_of(answering()) as (client, _):
        with pytest.raises(Refused, match=r"too large; the limit is 8388608") as caught:
            await client.batch([Put(f"x.:{n}", b"x" * 1_000_000) for n in range(9)])
        assert caught.value.code == "too_large"


async def test_a_node_may_end_the_connection_with_a_reason() -> None:
    async def end(node: ScriptedNode) -> None:
        node.welcome()
        await node.next()
        node.send(p.Fail(0, "protocol_error", "you talk too much"))
        await node.idle()

    async with client_of(end, answering()) as (client, seen):
        with pytest.raises(Unavailable, match="you talk too much"):
            await client.set("x", 1)
        await eventually(lambda: len(seen) == 2)


async def test_answers_nobody_asked_for_and_unknown_ones_are_ignored() -> None:
    async def odd(node: ScriptedNode) -> None:
        node.welcome()
        node.send(p.Done(999), p.Pong(5), p.Rows(77, ()))
        assert node.connection.queue(b"\0\0\0\x03\x92\x7f\x01")
        request = await node.next()
        node.send(p.Done(request.id, {"fine": 1}))
        await node.idle()

    async with client_of(odd) as (client, seen):
        assert await client.status() == {"fine": 1}
        assert len(seen) == 1


async def old(node: ScriptedNode) -> None:
    """A node of version 0.1, which would refuse what it does not know as nonsense."""
    node.welcome(requests=p.REQUESTS_OF_0_1, features=())
    request = await node.next()
    node.send(p.Done(request.id, {"old": True}))
    await node.idle()


async def test_an_old_node_is_not_asked_what_it_cannot_know() -> None:
    async with client_of(old) as (client, _):
        with pytest.raises(Refused, match="node scripted is too old for compacting its store; upgrade it") as caught:
            await client.compact()
        assert caught.value.code == "too_old"
        with pytest.raises(Refused, match="too old for backups"):
            async with client.backup() as chunks:
                await anext(aiter(chunks))
        with pytest.raises(Refused, match="too old for leases"):
            await client.set("x", 1, ttl=30)
        assert await client.status() == {"old": True}, "nothing else was sent before"


async def test_a_call_that_meets_an_old_node_after_a_broken_connection_does_not_claim_to_be_undone() -> None:
    async with client_of(break_after_one, old) as (client, _):
        with pytest.raises(Unavailable, match="too old for compacting its store") as caught:
            await client.compact()
        assert caught.value.outcome == errors.UNKNOWN


async def test_a_node_that_talks_nonsense_is_left() -> None:
    async def nonsense(node: ScriptedNode) -> None:
        node.welcome()
        await node.next()
        assert node.connection.queue(b"\0\0\0\x02\x91\x63")
        await node.idle()

    async with client_of(nonsense, answering(p.Done(0, {"second": 1}))) as (client, seen):
        assert await client.status() == {"second": 1}
        assert len(seen) == 2


async def test_a_wrong_answer_is_a_protocol_error() -> None:
    async with client_of(answering(p.Pong(0), p.Wrote(0, ()), p.Done(0))) as (client, _):
        with pytest.raises(ProtocolError, match="answered with Pong"):
            await client.get("x")
        with pytest.raises(ProtocolError, match="answered with Wrote"):
            await client.set("x", 1)
        with pytest.raises(ProtocolError, match="answered with Done"):
            await client.get("x")


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda kv: kv.get("a..b"), "bad_path"),
        (lambda kv: kv.set("x", object()), "bad_value"),
        (lambda kv: kv.set("x", b"x" * (9 << 20)), "bad_value"),
        (lambda kv: kv.batch([]), None),
    ],
)
async def test_what_can_be_refused_here_is_not_sent(call: Any, code: str | None) -> None:
    async with client_of(answering()) as (client, _):
        if code is None:
            assert await call(client) == []
            return
        with pytest.raises(Refused) as caught:
            await call(client)
        assert caught.value.code == code


async def test_bad_addresses_and_patterns_are_refused() -> None:
    with pytest.raises(Refused, match="lacks a port") as caught:
        async with connect("localhost"):
            pass
    assert caught.value.code == "bad_address"
    with pytest.raises(Refused, match="no address"):
        async with connect([]):
            pass
    async with client_of(answering()) as (client, _):
        with pytest.raises(Refused, match="empty element"):
            client.watch(pattern="a..b")


async def test_the_body_error_comes_out_as_it_is() -> None:
    with pytest.raises(LookupError, match="mine"):
        async with client_of(answering()):
            raise LookupError("mine")


async def test_the_back_off_grows_and_is_drawn_at_random() -> None:
    """With random 0 the pauses are the lower halves: 5, 10, 20 ... ms; the time to the sixth attempt shows it."""
    network = MemoryTransport()
    tries: list[float] = []
    dial = network.dial

    def counting(address: Address) -> Any:
        tries.append(anyio.current_time())
        return dial(address)

    network.dial = counting  # type: ignore[method-assign]  # to see the attempts
    options = Options(backoff_first=0.01, backoff_most=0.08)
    async with connect("memory:n", transport=network, patient=True, random=lambda: 0.0, options=options):
        await eventually(lambda: len(tries) >= 6)
    pauses = [b - a for a, b in zip(tries, tries[1:], strict=False)]
    assert pauses[0] >= 0.004
    assert pauses[3] >= 0.035
