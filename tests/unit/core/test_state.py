"""The shared state: loading (and R6), what goes to the store, volatile writes (R7)."""

from __future__ import annotations

import pytest

from kvnode.core.effects import Change, Notify, Persist, Send
from kvnode.core.entry import Version, decode_record, encode_record
from kvnode.core.messages import Versions
from kvnode.core.path import Path
from kvnode.core.stamp import stamp_of, wall_ms
from kvnode.core.ticks import Dot, Ticks, incarnation, is_volatile, volatile_twin
from tests.support.replicas import WALL, Net, Store, enc
from tests.support.strangers import Stranger, Z, version

OTHER = version("@.nodes.Z", 100, {"inc": Z})
"""Another member: without one there is nobody to rejoin."""


def store_with(*versions: Version, known: bool = True) -> Store:
    store = Store()
    for v in versions:
        have = store.rows.get(v.key)
        store.rows[v.key] = encode_record((*(decode_record(have) if have else ()), v))
        if known:
            store.known[v.inc] = store.known.get(v.inc, Ticks()).add(v.tick)
    return store


# -- loading -----------------------------------------------------------------------------------------------------------


def test_a_restart_finds_everything_again() -> None:
    net = Net("A")
    for text in ("x", "x.y", "z.:3"):
        net.write("A", text, text)
    net.delete("A", "x.y")
    net.run()
    before, known = net.dump("A"), dict(net["A"].known.map)
    print_ = net["A"].tree.print_of_all
    net.restart("A")
    assert net.dump("A") == before
    assert dict(net["A"].known.map) == known
    assert net["A"].tree.print_of_all == print_
    assert net["A"].is_current
    assert all(net["A"].durable_here(Dot(inc, t)) for inc, ticks in known.items() for t in ticks)
    assert not net["A"].take_effects()


def test_what_was_not_persisted_is_gone_after_a_crash() -> None:
    net = Net("A")
    net.write("A", "x", 1)
    net.run()
    net.nodes["A"].stuck = True
    dot = net.write("A", "x", 2)
    net.flow()
    assert not net["A"].durable_here(dot)
    net.restart("A")
    assert net.read("A", "x") == 1
    assert dot not in net["A"].known


def test_with_a_doubt_known_is_exactly_what_is_held() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    for n in range(5):
        net.write("A", "x", n)
    net.write("A", "y", 1)
    net.run()
    inc = net["A"].state.inc
    assert inc is not None
    assert net["A"].known[inc].is_whole
    net.restart("A", doubts=("salvaged",))
    held = {v.tick for _, v in net["A"].tree.versions() if v.inc == inc}
    assert set(net["A"].known[inc]) == held != set(range(1, 8))
    assert not net["A"].is_current
    net.flow()
    assert [r.text for r in net.nodes["A"].reports] == ["salvaged"]
    assert set(net.nodes["A"].store.known[inc]) == held


def test_a_doubt_is_told_again_at_each_start_until_it_is_over() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.write("A", "x", 1)
    net.flow()
    net.restart("A", doubts=("salvaged",))
    net.flow()
    net.restart("A")
    net.flow()
    assert ["no peer has made up" in r.text for r in net.nodes["A"].reports] == [True]
    net.link("A", "B")
    net.flow()
    net.restart("A")
    net.flow()
    assert net.nodes["A"].reports == []


def test_a_doubt_is_over_when_a_peer_has_made_up_for_it() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.write("A", "x", 1)
    net.flow()
    net.restart("A", doubts=("salvaged",))
    net.flow()
    assert [r.resolved for r in net.nodes["A"].reports] == [False]
    net.link("A", "B")
    net.flow()
    assert [r.resolved for r in net.nodes["A"].reports if r.kind == "store_doubt"] == [False, True]


def test_a_node_without_other_members_has_nobody_to_wait_for() -> None:
    net = Net("A")
    net.write("A", "x", 1)
    net.flow()
    net.restart("A", doubts=("salvaged",))
    assert net["A"].is_current
    net.flow()
    assert net.nodes["A"].kinds() == {"store_doubt"}


def test_an_incarnation_of_which_nothing_is_held_is_removed_from_the_store_in_doubt() -> None:
    store = store_with(version("x", 1), OTHER)
    store.known[incarnation("Y", 2)] = Ticks.upto(9)
    net = Net()
    net.start("A", store=store, doubts=("salvaged",), member=False)
    net.flow()
    assert dict(net["A"].known.map) == {Z: Ticks.of(1, 100)} == store.known


def test_a_version_that_is_missing_from_known_is_a_doubt() -> None:
    net = Net()
    net.start("A", store=store_with(version("x", 3), OTHER, known=False), member=False)
    assert not net["A"].is_current
    assert dict(net["A"].known.map) == {Z: Ticks.of(3, 100)}
    assert not net["A"].durable_here(Dot(Z, 3))
    net.flow()
    assert net.nodes["A"].kinds() == {"store_doubt"}
    assert net["A"].durable_here(Dot(Z, 3))


@pytest.mark.parametrize("record", [b"", b"\xc1", b"\x90", b"\x01", b"\x91\x95\xa1x\x01\x80\xc4\x00\xc4\x00"])
def test_an_unreadable_row_is_a_doubt(record: bytes) -> None:
    store = store_with(version("x", 1), OTHER)
    store.rows[Path.parse("bad").key] = record
    net = Net()
    net.start("A", store=store, member=False)
    net.flow()
    assert not net["A"].is_current
    assert net.nodes["A"].kinds() == {"store_doubt"}
    assert net.read("A", "x") == 1


def test_a_row_of_another_path_is_a_doubt() -> None:
    store = store_with(version("x", 1), OTHER)
    store.rows[Path.parse("y").key] = store.rows[Path.parse("x").key]
    net = Net()
    net.start("A", store=store, member=False)
    net.flow()
    assert not net["A"].is_current
    assert net.at("A", "y") == ()
    assert net.read("A", "x") == 1


def test_an_unreadable_row_is_doubted_once() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.write("B", "x", 1)
    net.run()
    store = net.crash("A")
    store.rows[Path.parse("bad").key] = b"\xc1"
    net.start("A", store=store)
    net.link("A", "B")
    net.run()
    assert net["A"].is_current
    net.restart("A")
    net.flow()
    assert net["A"].is_current
    assert not net.nodes["A"].reports


def test_a_far_stamp_does_not_move_the_clock_at_load() -> None:
    net = Net("A")
    far = stamp_of(WALL + 10**10)
    Stranger(net, "A").send(Versions((version("x", 1, stamp=far),)))
    net.run()
    assert "clock_skew" in net.nodes["A"].kinds()
    net.write("A", "y", 1)
    assert wall_ms(net.at("A", "y")[0].stamp) == net.now.wall
    net.flow()
    net.restart("A")
    net.write("A", "y", 2)
    assert wall_ms(net.at("A", "y")[0].stamp) == net.now.wall
    net.write("A", "x", 2)
    assert net.at("A", "x")[0].stamp > far
    assert net.values("A", "x") == [2]


def test_stamps_go_on_rising_after_a_restart_with_a_clock_set_back() -> None:
    net = Net("A")
    net.write("A", "x", 1)
    net.run()
    first = net.at("A", "x")[0].stamp
    store = net.crash("A")
    net.t -= 30_000
    net.start("A", store=store)
    net.write("A", "y", 1)
    assert net.at("A", "y")[0].stamp > first


# -- to the store ------------------------------------------------------------------------------------------------------


def test_effects_come_in_order_of_durability() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.run()
    net.write("A", "x", 1)
    kinds = [type(e) for e in net["A"].take_effects()]
    assert kinds == [Persist, Send, Notify]


def test_rows_and_known_of_a_change_are_one_transaction() -> None:
    net = Net("A")
    net.flow()
    out = net.propose("A", Change(Path.parse("x"), enc(1)), Change(Path.parse("y"), enc(2)))
    assert isinstance(out, list)
    (persist,) = [e for e in net["A"].take_effects() if isinstance(e, Persist)]
    assert set(persist.rows) == {Path.parse("x").key, Path.parse("y").key}
    (ticks,) = persist.known.values()
    assert ticks is not None
    assert {w.dot.tick for w in out} <= set(ticks)


def test_a_token_stands_for_all_below_it() -> None:
    net = Net("A")
    net.run()
    dots, tokens = [], []
    for n in range(3):
        dots.append(net.write("A", "x", n))
        tokens += [e.token for e in net["A"].take_effects() if isinstance(e, Persist)]
    assert tokens == sorted(set(tokens))
    net["A"].persisted(tokens[1], net.now)
    assert [net["A"].durable_here(d) for d in dots] == [True, True, False]
    net["A"].persisted(tokens[2], net.now)
    assert net["A"].durable_here(dots[2])


def test_a_write_that_was_superseded_before_it_was_stored_counts_as_durable_with_its_successor() -> None:
    net = Net("A")
    net.run()
    net.nodes["A"].stuck = True
    first, second = net.write("A", "x", 1), net.write("A", "x", 2)
    net.flow()
    assert not net["A"].durable_here(first)
    net.sync_disk("A")
    assert net["A"].durable_here(first)
    assert net["A"].durable_here(second)


def test_a_path_that_is_no_longer_held_is_removed_from_the_store() -> None:
    net = Net("A")
    net.write("A", "x", 1)
    net.flow()
    assert Path.parse("x").key in net.nodes["A"].store.rows
    net.delete("A", "x")
    net.run()
    assert net.at("A", "x") == ()  # the only member forgets at once
    assert Path.parse("x").key not in net.nodes["A"].store.rows


def test_nothing_changed_nothing_to_do() -> None:
    net = Net("A")
    net.write("A", "x", 1)
    net.run()
    assert net["A"].take_effects() == []
    net.run(200_000)
    assert net["A"].take_effects() == []


# -- volatile (R7) -----------------------------------------------------------------------------------------------------


def volatile_net(*names: str) -> Net:
    net = Net(*names)
    net.link(*names)
    net.write(names[0], "@.volatile.one", {"pattern": "v.#"})
    net.run()
    return net


def test_volatile_writes_take_ticks_of_their_own_and_are_not_stored() -> None:
    net = volatile_net("A")
    stored = dict(net.nodes["A"].store.rows), dict(net.nodes["A"].store.known)
    dot = net.write("A", "v.x", 1)
    assert is_volatile(dot.inc)
    assert dot.tick == 1
    assert net["A"].durable_here(dot)  # which means: in memory
    net.run()
    assert (net.nodes["A"].store.rows, net.nodes["A"].store.known) == stored
    net.restart("A")
    assert net.read("A", "v.x") is None
    assert not [inc for inc in net["A"].known.map if is_volatile(inc)]


def test_system_entries_are_never_volatile() -> None:
    net = Net("A")
    net.write("A", "@.volatile.all", {"pattern": "#"})
    net.flow()
    assert is_volatile(net.write("A", "x", 1).inc)
    assert not is_volatile(net.write("A", "@.policy.x", {"pattern": "x", "policy": "max"}).inc)
    net.flow()
    net.restart("A")
    assert not is_volatile(net.write("A", "@.policy.y", {"pattern": "y", "policy": "max"}).inc)
    net.flow()
    assert all(not is_volatile(v.inc) for v in net.at("A", "@.nodes.A"))


# -- copied processes --------------------------------------------------------------------------------------------------


def test_a_dot_at_two_paths_breaks_nothing() -> None:
    net = Net("A")
    state = net["A"].state
    one, other = version("x", 1, "here"), version("y", 1, "there")
    for each in (one, other):
        state.add(each.key, each)
    for each in (one, other):
        state.drop(each.key, each, "for a test", net.now)
    assert (net.at("A", "x"), net.at("A", "y"), Z in state.live) == ((), (), False)


def test_a_volatile_tick_that_was_never_given_out_tells_of_a_copy() -> None:
    net = Net("A")
    net.write("A", "x", 1)
    net.run()
    inc = net["A"].state.inc
    assert inc is not None
    stranger = Stranger(net, "A")
    stranger.introduce()
    stranger.send(Versions((version("v.x", 1, "from a copy", inc=volatile_twin(inc)),)))
    net.run()
    assert "copied_process" in net.nodes["A"].kinds()
    assert net["A"].state.inc != inc
