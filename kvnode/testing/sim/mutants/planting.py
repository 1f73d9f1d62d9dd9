"""Planting a bug: replacing functions of the code under test for a while, and proving that it had an effect at all.

A replacement that never runs, that has another signature, or whose place is gone after a refactoring would let a mutant
pass for caught, or for harmless, by mistake. Each of these is :class:`NotPlanted` here. So is a law's checker that runs
through replaced code: it would judge the mutant by the mutant's own measure.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType, FunctionType, ModuleType
from typing import Any, Final

_CHECKERS: Final = frozenset(f"kvnode.testing.sim.{name}" for name in ("laws", "ledger", "disk"))
_SIMULATOR: Final = "kvnode.testing.sim."
_MUTANTS: Final = "kvnode.testing.sim.mutants."


class NotPlanted(Exception):
    """A mutant did not apply; says where and why."""


@dataclass(frozen=True, slots=True)
class Patch:
    """One replacement: the class or module, the name of its function, and what comes in its place."""

    owner: type | ModuleType
    name: str
    replacement: Callable[..., Any]

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}"


@dataclass(slots=True)
class Planted:
    """What became of the replacements: how often each ran, and which checkers of laws ran into one."""

    calls: dict[str, int] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)

    @property
    def idle(self) -> list[str]:
        """The replacements that never ran."""
        return [where for where, count in self.calls.items() if not count]

    def check_laws(self) -> None:
        """Raises NotPlanted if a law's checker relies on replaced code."""
        if self.shared:
            raise NotPlanted(f"the laws are judged by replaced code: {', '.join(sorted(self.shared))}")


@contextmanager
def planted(patches: tuple[Patch, ...]) -> Iterator[Planted]:
    """The code with these replacements, for the length of a block. Raises NotPlanted at once if one does not fit; what
    became of them is to be asked afterwards.
    """
    outcome = Planted()
    with ExitStack() as stack:
        for patch in patches:
            original = _original(patch)
            setattr(patch.owner, patch.name, _counting(patch, outcome))
            stack.callback(setattr, patch.owner, patch.name, original)
        yield outcome


def _original(patch: Patch) -> FunctionType:
    original = vars(patch.owner).get(patch.name)
    if not isinstance(original, FunctionType):
        raise NotPlanted(f"{patch} is no function any more")
    there, here = _signature(original), _signature(patch.replacement)
    if there != here:
        raise NotPlanted(f"{patch}{there} would be replaced by a function with the signature {here}")
    return original


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """The signature as the replaced function would write it: without the type of `self`."""
    signature = inspect.signature(function)
    plain = [p.replace(annotation=p.empty) if p.name == "self" else p for p in signature.parameters.values()]
    return signature.replace(parameters=plain)


def _counting(patch: Patch, outcome: Planted) -> Callable[..., Any]:
    where, replacement = str(patch), patch.replacement
    outcome.calls[where] = 0

    @functools.wraps(replacement)
    def call(*args: Any, **kwargs: Any) -> Any:
        outcome.calls[where] += 1
        checker = _checker(sys._getframe(1))
        if checker:
            outcome.shared.add(f"{checker} calls {where}")
        return replacement(*args, **kwargs)

    return call


def _checker(frame: FrameType | None) -> str | None:
    """The checker of a law on whose behalf this frame runs, if any: the nearest caller in the simulator decides."""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module in _CHECKERS:
            return f"{module}.{frame.f_code.co_name}"
        if module.startswith(_SIMULATOR) and not module.startswith(_MUTANTS):
            return None
        frame = frame.f_back
    return None
