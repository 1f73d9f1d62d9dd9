"""Running a plan: the steps, the healing, the wait for rest, the verdict."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from kvnode.core import marks

from . import laws
from .generate import Config, generate
from .healing import heal
from .plan import Plan
from .steps import perform
from .world import MAX_BROKEN, Broken, Stopped, World

_GRACE_MS: Final = 2_000
_LOOK_MS: Final = 500
_REST_FACTOR: Final = 40
"""The cluster must come to rest within so many of its own check intervals."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run showed. `trace` is empty unless asked for; `virtual_ms` is when the run ended. With how often: `marks`
    are the rare branches of the core that it took, `steps` the kinds of steps that were done, `happened` is what faults
    really did.
    """

    plan: Plan
    trace_hash: str
    events: int
    virtual_ms: int
    writes: int
    broken: tuple[Broken, ...]
    marks: dict[str, int]
    sent: dict[str, int]
    steps: dict[str, int]
    happened: dict[str, int]
    trace: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all laws held."""
        return not self.broken

    @property
    def replay(self) -> str:
        """The command that repeats this run."""
        return f"python -m kvnode.testing.sim --seed {self.plan.seed}"


def run(seed: int, config: Config | None = None, *, keep_trace: bool = False) -> Report:
    """Run one seed."""
    return run_plan(generate(seed, config), keep_trace=keep_trace)


def run_plan(plan: Plan, *, keep_trace: bool = False, most_broken: int = MAX_BROKEN) -> Report:
    """Run a plan, whole or shrunk; it ends early when so many breaches were found."""
    with _marks() as hit:
        world = World(plan, keep_trace=keep_trace, most_broken=most_broken)
        try:
            _live(world)
        except Stopped:
            pass
        except Exception:
            text = traceback.format_exc(limit=-6)
            world.brokens.append(Broken("no-crash", world.now, text))
    return Report(
        plan,
        world.trace_hash,
        world.events,
        world.now,
        len(world.ledger.writes),
        tuple(world.brokens),
        dict(sorted(hit.items())),
        dict(sorted(world.watch.sent_kinds.items())),
        dict(sorted(world.performed.items())),
        dict(sorted((+world.happened).items())),
        tuple(world.trace or ()),
    )


@contextmanager
def _marks() -> Iterator[Counter[str]]:
    hit: Counter[str] = Counter()

    def count(name: str) -> None:
        hit[name] += 1

    marks.set_hook(count)
    try:
        yield hit
    finally:
        marks.set_hook(None)


def _live(world: World) -> None:
    for host in list(world.hosts.values()):
        world.start(host)
    world.look_for_members()
    for step in world.plan.steps:
        world.at(step.at, perform, world, step)
    last = max((s.at for s in world.plan.steps), default=0)
    world.run_until(last + _GRACE_MS)
    world.run_until(world.frozen_until + _GRACE_MS)
    heal(world)
    come_to_rest(world)
    laws.check(world)


def come_to_rest(world: World) -> None:
    """Run until nothing is missing and nothing but signs of life is sent; or until it takes too long."""
    interval = max(world.limits.check_ms, world.limits.beat_ms) + 1_000
    limit = world.now + _REST_FACTOR * interval
    while world.now < limit:
        world.run_until(world.now + _LOOK_MS)
        if laws.unsettled(world):
            _unretire(world)
            continue
        before = _sent(world)
        world.run_until(world.now + interval)
        if _is_rest(before, _sent(world)) and not laws.unsettled(world):
            return
    if not laws.unsettled(world):
        world.broken("quiet", f"the cluster never comes to rest: {world.watch.sent_kinds}")


def _sent(world: World) -> Counter[str]:
    """What was sent so far, by kind, and what was stored."""
    return Counter(world.watch.sent_kinds) + Counter(persists=world.watch.persists)


def _is_rest(before: Counter[str], now: Counter[str]) -> bool:
    """Whether nothing happened in between but signs of life, and questions about paths in conflict with a delete."""
    return all(now[k] == before[k] for k in ("persists", "Digest", "PrintAsk", "Versions"))


def _unretire(world: World) -> None:
    """A retirement that was lost (its only witness crashed) is for people to repeat; here the node comes back."""
    for host in world.hosts.values():
        if not host.retired or host.label != host.name or host.process is not None:
            continue
        if world.now > 0 and any(host.name in p.replica.members() for p in world.processes()):
            host.retired = False
            world.start(host)
