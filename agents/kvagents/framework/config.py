"""The configuration of an agent: the entries below its root, with attributes that are inherited. Pure.

Each entry holds a map of attributes. What an entry does not say itself it takes from the nearest entry above it, up
to the agent's own. So what all devices share is written once::

    agent.onewire.attic                    {"server": "127.0.0.1:4304", "interval": 5}
    agent.onewire.attic.28:.67452301EF00   {"dest": "home.attic.temp"}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kvnode.core.path import Path

Spec = TypeVar("Spec")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the configuration that cannot be right: where, which key if one is to blame, and what."""

    path: Path
    message: str
    key: str | None = None
    code: str = "config"

    def __str__(self) -> str:
        where = str(self.path) if self.key is None else f"{self.path}: {self.key}"
        return f"{where}: {self.message}"


@dataclass(frozen=True, slots=True)
class Plan(Generic[Spec]):
    """What a configuration asks for: a specification per binding, by the path that configures it."""

    bindings: Mapping[Path, Spec]
    problems: tuple[Problem, ...] = ()


class Config:
    """A snapshot of the entries at and below `root`."""

    def __init__(self, root: Path, entries: Mapping[Path, Any]) -> None:
        self.root = root
        self._entries = dict(sorted(entries.items(), key=lambda item: item[0].key))

    def __iter__(self) -> Iterator[Path]:
        """The paths that have an entry, in path order."""
        return iter(self._entries)

    def __contains__(self, path: object) -> bool:
        return path in self._entries

    def value(self, path: Path) -> Any:
        """The value of an entry, None if there is none."""
        return self._entries.get(path)

    def own(self, path: Path) -> Mapping[str, Any]:
        """The attributes that this entry itself gives; none when it is no map."""
        value = self._entries.get(path)
        return value if isinstance(value, dict) else {}

    def chain(self, path: Path) -> list[Path]:
        """From the root down to `path`, whether there are entries or not."""
        return [Path(path[:size]) for size in range(len(self.root), len(path) + 1)]

    def inherited(self, path: Path) -> dict[str, Any]:
        """The attributes in effect at `path`: its own, and from above what it does not say."""
        merged: dict[str, Any] = {}
        for above in self.chain(path):
            merged.update(self.own(above))
        return merged

    def above(self, path: Path, key: str) -> Path | None:
        """The nearest entry at or above `path` that gives `key` itself."""
        return next((p for p in reversed(self.chain(path)) if key in self.own(p)), None)

    def has_below(self, path: Path) -> bool:
        """Whether there are entries below `path`."""
        return any(p != path and p.is_below(path) for p in self._entries)


@dataclass(frozen=True, slots=True)
class Diff:
    """How to get from what runs to what is wanted. What changed is in both lists: first stop, then start."""

    stop: tuple[Path, ...]
    start: tuple[Path, ...]


def difference(running: Mapping[Path, Spec], wanted: Mapping[Path, Spec]) -> Diff:
    """Compare two sets of bindings by path and specification."""
    stop = tuple(path for path, spec in running.items() if path not in wanted or wanted[path] != spec)
    start = tuple(path for path, spec in wanted.items() if path not in running or running[path] != spec)
    return Diff(stop, start)
