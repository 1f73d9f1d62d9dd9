"""All planted bugs.

Most are hunted with the simulator's first seeds, those of its test in CI. Where a bug needs a rare shape, the seeds are
drawn from a profile that makes it common; where it needs several things in one order, a scenario puts them there.
"""

from __future__ import annotations

from typing import Final

from kvnode.client.mirror import Mirror
from kvnode.core import loading, replica, state, unsure
from kvnode.core.acks import Acks
from kvnode.core.events import Events
from kvnode.core.forget import Forget
from kvnode.core.identity import Identity
from kvnode.core.link import Link
from kvnode.core.replica import Replica
from kvnode.core.settle import Settle
from kvnode.core.state import State
from kvnode.core.sync import Sync
from kvnode.core.ticks import Known
from kvnode.node.driver import Driver
from kvnode.node.watching import WatchStream

from ..generate import Config
from . import forgetting, knowing, merging, serving, settling
from .hunting import Mutant, Run, races, seeds, trace
from .planting import Patch


def _dense(kinds: str, faults: tuple[int, int] = (3, 5), operations: tuple[int, int] = (60, 90)) -> list[Run]:
    """Three nodes, much written in a short time, and only these kinds of faults."""
    only = frozenset(kinds.split())
    return seeds(40, Config(nodes=(3, 3), operations=operations, faults=faults, span_ms=6_000, only=only))


_QUICK: Final = seeds(60)
"""Seeds that the simulation in CI runs, too."""
_MANY: Final = (100, 140)
_CLONES: Final = Config(nodes=(3, 3), operations=(60, 90), faults=(2, 3), span_ms=15_000, only=frozenset({"clone"}))

MUTANTS: Final = (
    # Writing and merging.
    Mutant("merge-by-arrival", (Patch(state, "merge", merging.merge_by_arrival),), _QUICK),
    Mutant("deletes-win", (Patch(state, "merge", merging.merge_letting_deletes_win),), _QUICK),
    Mutant("vector-truncated", (Patch(replica, "vector_over", merging.vector_cut_to_one),), _QUICK),
    Mutant("only-the-winner-superseded", (Patch(replica, "vector_over", merging.vector_over_the_winner),), _QUICK),
    Mutant("tick-reused", (Patch(Identity, "_mint", merging.mint_the_stored_incarnation),), _QUICK),
    Mutant(
        "link-gap-unnoticed",
        (Patch(Replica, "receive", merging.receive_whatever_comes),),
        _dense("noise", operations=_MANY),
    ),
    # What a node knows.
    Mutant("acknowledged-before-persist", (Patch(State, "_persist", knowing.persist_and_believe_it),), _QUICK),
    Mutant("volatile-dots-persisted", (Patch(State, "add", knowing.add_and_persist_volatile),), _dense("crash stop")),
    Mutant("damaged-store-keeps-known", (Patch(loading, "doubt", knowing.doubt_nothing),), _dense("damage doubt")),
    Mutant("ranges-before-versions", (Patch(Sync, "pump", knowing.pump_ranges_first),), _QUICK),
    Mutant(
        "ranges-from-a-moving-known",
        (Patch(Sync, "_finish", knowing.finish_with_what_is_known_now),),
        trace("written-during-a-session.plan"),
    ),
    Mutant(
        "partial-replica-passes-ranges-on",
        (
            Patch(Sync, "start", knowing.start_as_if_full),
            Patch(Sync, "_finish", knowing.finish_as_if_full),
            Patch(Sync, "_apply", knowing.apply_whoever_says_it),
        ),
        _QUICK,
    ),
    Mutant(
        "closed-run-taken-from-anybody",
        (Patch(Sync, "_guards", knowing.refuse_nothing),),
        trace("taken-from-one-who-has-not-heard.txt"),
    ),
    Mutant(
        "closed-run-taken-on-a-volatile-word",
        (Patch(Sync, "_guards", knowing.guard_by_the_digest),),
        trace("believed-though-not-durable.txt"),
    ),
    # What its peers are believed to know.
    Mutant("digest-misses-an-incarnation", (Patch(Known, "hash", knowing.hash_without_the_oldest),), _QUICK),
    Mutant("estimate-united", (Patch(Sync, "resolved", knowing.resolved_on_top),), _QUICK),
    Mutant("estimate-without-holes", (Patch(Link, "has_now", knowing.has_all_up_to_now),), _dense("backlog")),
    Mutant("clone-acknowledges", (Patch(Acks, "ackers", forgetting.ackers_with_clones),), seeds(40, _CLONES)),
    # Forgetting.
    Mutant("tombstone-dropped-early", (Patch(Forget, "_forget", forgetting.forget_when_stored),), _QUICK),
    Mutant(
        "tombstone-dropped-beside-a-sibling",
        (Patch(Forget, "_forget", forgetting.forget_beside_values),),
        _dense("cut split"),
    ),
    Mutant(
        "expired-by-own-clock",
        (Patch(Forget, "_forget", forgetting.forget_by_own_clock),),
        _dense("reset twin", operations=_MANY),
    ),
    Mutant("stripped-too-early", (Patch(Forget, "is_stable", forgetting.stable_when_stored),), _QUICK),
    Mutant(
        "stable-by-the-dot-alone",
        (Patch(Forget, "is_stable", forgetting.stable_by_the_dot),),
        trace("stripped-over-a-hole.txt"),
    ),
    Mutant("silence-agrees", (Patch(Acks, "floor", forgetting.floor_of_those_heard),), _dense("recrash cut")),
    Mutant(
        "void-without-the-mark",
        (Patch(Forget, "_agreed", forgetting.void_when_equal),),
        trace("void-before-all-know.txt"),
    ),
    Mutant(
        "void-by-own-word", (Patch(Forget, "_agreed", forgetting.void_by_own_word),), trace("void-before-all-know.txt")
    ),
    # Settling.
    Mutant(
        "settle-not-atomic",
        (
            Patch(Settle, "answer_prints", settling.answer_prints_and_remember),
            Patch(State, "holds", settling.holds_as_remembered),
        ),
        _dense("slow reset", operations=_MANY),
    ),
    Mutant(
        "verdict-while-behind",
        (Patch(Settle, "answer_paths", settling.judge_without_knowing),),
        _dense("slow reset", (10, 12), _MANY),
    ),
    Mutant(
        "late-at-a-partial-replica",
        (Patch(unsure, "may_be_late", settling.nothing_is_late),),
        trace("late-at-a-partial-replica.txt"),
    ),
    Mutant("drop-untold", (Patch(State, "drop", settling.drop_quietly),), _QUICK),
    # Serving.
    Mutant("event-delivered-twice", (Patch(Events, "receive", settling.receive_again),), _QUICK),
    Mutant("watch-marker-too-early", (Patch(WatchStream, "_produce_pass", serving.produce_marker_first),), _QUICK),
    Mutant(
        "resume-off-by-one",
        (Patch(Mirror, "request", serving.request_without_the_last),),
        _dense("slow", (8, 10), (140, 180)),
    ),
    Mutant(
        "compare-and-set-outside-the-owner",
        (Patch(Driver, "propose", serving.propose_checked_by_the_caller),),
        races(5),
    ),
)
"""In the order of the table in the documentation."""
