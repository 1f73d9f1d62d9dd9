"""Drawing at random from what a plan has: its hosts, edges, paths and time."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .plan import Edges


@dataclass(slots=True)
class Draw:
    """The stream of random numbers, and what there is to draw from."""

    rng: Random
    names: list[str]
    full: list[str]
    edges: Edges
    paths: list[str]
    span: int

    def at(self) -> int:
        """A time."""
        return self.rng.randint(100, self.span)

    def name(self) -> str:
        """A host."""
        return self.rng.choice(self.names)

    def edge(self) -> tuple[str, str]:
        """An edge, in either direction."""
        a, b = self.rng.choice(self.edges)
        return (a, b) if self.rng.random() < 0.5 else (b, a)

    def near(self, name: str) -> list[str]:
        """The neighbours of a host."""
        return sorted({n for e in self.edges if name in e for n in e} - {name})

    def path(self) -> str:
        """A path."""
        return self.rng.choice(self.paths)

    def duration(self, longest: int) -> int:
        """A duration: very short, short, or long."""
        return int(self.rng.choice((50, 500, longest / 3, longest)) * self.rng.uniform(0.5, 1.0))

    def some(self) -> list[str]:
        """Some hosts, not all."""
        return sorted(self.rng.sample(self.names, self.rng.randint(1, max(1, len(self.names) - 1))))
