"""An independent judge: from the history of a run and the dumps at its end it tells which laws were broken.

It shares no code with kvnode and derives causality by itself, so a mistake in kvnode's own notion of it cannot hide
here; a contract of import-linter holds it to that. It never accuses without proof, and what that costs is said where
it matters: a law can be broken in ways that the history does not prove.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kvnode.testing.torture.history import Record

from .causality import Causality
from .evidence import Evidence
from .laws import (
    Violation,
    conditions_were_kept,
    different_words,
    names_are_unique,
    nodes_agree,
    nothing_returns,
    nothing_vanishes,
    reads_go_forward,
    values_were_written,
    watches_are_true,
)

__all__ = ["Violation", "check", "different_words"]


def check(
    records: Iterable[Record], dumps: Mapping[str, str], statuses: Mapping[str, Mapping[str, Any]]
) -> list[Violation]:
    """All violations, given the history, and of each node its ``kv dump --format jsonl`` and its status when all was
    quiet again.
    """
    evidence = Evidence(records, dumps)
    causality = Causality(evidence)
    return [
        *nothing_vanishes(evidence, causality),
        *nothing_returns(evidence, causality),
        *nodes_agree(evidence, statuses),
        *names_are_unique(evidence),
        *values_were_written(evidence),
        *reads_go_forward(evidence, causality),
        *conditions_were_kept(evidence, causality),
        *watches_are_true(evidence),
    ]
