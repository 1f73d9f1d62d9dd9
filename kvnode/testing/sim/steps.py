"""What each step of a plan does: the table of all kinds. What they take is told where they are defined."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from . import clientsteps, hoststeps, linksteps

if TYPE_CHECKING:
    from .plan import Step
    from .world import World

_STEPS: Final[dict[str, Callable[..., None]]] = clientsteps.STEPS | linksteps.STEPS | hoststeps.STEPS
_HARMFUL: Final = frozenset(
    {"restore", "wipe", "rewind", "clone", "damage", "doubt", "tear", "retire", "clock", "epoch"}
)
_DOUBTS: Final = frozenset({"damage", "doubt", "tear"})
KINDS: Final = frozenset(_STEPS)


def perform(world: World, step: Step) -> None:
    """Do one step, if it makes sense now."""
    world.log("step", step.kind, *step.args)
    world.performed[step.kind] += 1
    world.harmed = world.harmed or step.kind in _HARMFUL
    world.doubted = world.doubted or step.kind in _DOUBTS
    _STEPS[step.kind](world, *step.args)
