"""Which readings are written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvagents.framework.filter import Filter, Written


@pytest.mark.parametrize(
    ("old", "new", "wants"),
    [
        ("on", "on", False),
        ("on", "off", True),
        (True, True, False),
        (True, False, True),
        (1, True, True),
        (None, 0, True),
    ],
)
def test_what_is_no_number_passes_when_it_differs(old: Any, new: Any, wants: bool):
    assert Filter(delta=5.0).wants(new, 1.0, Written(old, 0.0)) is wants


def test_filter_without_delta_writes_each_change():
    every = Filter(delta=0.0, heartbeat_s=300.0)
    assert every.wants(20.0, now=0.0, written=None)
    assert not every.wants(20.0, now=299.0, written=Written(20.0, at=0.0))
    assert every.wants(20.0625, now=1.0, written=Written(20.0, at=0.0))
    assert every.wants(20.0, now=300.0, written=Written(20.0, at=0.0))


def test_filter_with_delta_ignores_noise_and_follows_drift():
    coarse = Filter(delta=0.5, heartbeat_s=1e9)
    written: Written | None = None
    kept = []
    for step in range(21):
        value = 20.0 + step / 10
        if coarse.wants(value, float(step), written):
            written = Written(value, float(step))
            kept.append(value)
    assert kept == [20.0, 20.6, 21.2, 21.8]


@given(
    st.lists(st.floats(-55, 125), min_size=1, max_size=60),
    st.floats(0, 10),
    st.floats(1, 100),
)
def test_what_was_written_is_never_far_from_the_truth(values: list[float], delta: float, heartbeat: float):
    """Law of the filter: the value in the tree is within delta of the last reading and no older than a heartbeat."""
    rule = Filter(delta, heartbeat)
    written: Written | None = None
    for now, value in enumerate(values):
        if rule.wants(value, float(now), written):
            written = Written(value, float(now))
        assert written is not None
        assert abs(written.value - value) <= delta
        assert now - written.at < heartbeat
