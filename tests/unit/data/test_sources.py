"""Sources of values, and what an agent's status amounts to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kvnode.core.path import Path
from kvnode.data.sources import Source, source_of, state_of

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONFIG = Path.parse("agent.onewire.house.attic")


def test_a_source_reads_as_it_was_written():
    for stale_after in (None, 660, 0.5):
        source = Source("onewire/house", CONFIG, stale_after)
        assert Source.from_value(source.value()) == source
    for wrong in (None, {}, {"agent": "x"}, {"agent": "x", "config": "text"}):
        assert Source.from_value(wrong) is None
    assert Source.from_value({"agent": "x", "config": CONFIG, "stale_after": "long"}) is None
    assert str(source_of(Path.parse("home.attic"))) == "@.sources.home.attic"


def test_a_value_older_than_allowed_is_stale():
    source = Source("onewire/house", CONFIG, 60)
    assert not source.is_stale(T0, T0 + timedelta(seconds=60))
    assert source.is_stale(T0, T0 + timedelta(seconds=61))
    assert not Source("onewire/house", CONFIG).is_stale(T0, T0 + timedelta(days=1000))


@pytest.mark.parametrize(
    ("status", "after_s", "state"),
    [
        ({"state": "running", "seen": T0, "every": 60}, 150, "running"),
        ({"state": "running", "seen": T0, "every": 60}, 151, "lost"),
        ({"state": "stopped", "seen": T0, "every": 60}, 9999, "stopped"),
        ({"state": "running"}, 9999, "running"),
        ({"seen": T0}, 0, "unknown"),
        ("text", 0, "unknown"),
    ],
)
def test_what_a_status_amounts_to(status: Any, after_s: float, state: str):
    assert state_of(status, T0 + timedelta(seconds=after_s)) == state
