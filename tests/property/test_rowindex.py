"""The rows of a segment of the log against a plain dict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.effects import Persist
from kvnode.store import rowindex
from kvnode.store.base import Batch
from kvnode.store.frames import encode
from kvnode.store.rowindex import RowIndex

_rows = st.dictionaries(
    st.integers(0, 30).map(lambda n: bytes([2, n])), st.sampled_from([None, b"", b"123"]), max_size=12
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rowindex, "_FIRST_LOOK", 8)
    monkeypatch.setattr(rowindex, "_AT_ONCE", 3)


@given(st.lists(_rows, max_size=12), st.binary(max_size=2), st.sets(st.integers(0, 40)))
def test_an_index_tells_the_last_place_of_each_key(
    frames: list[dict[bytes, bytes | None]], low: bytes, some: set[int]
) -> None:
    index, model, end, base = RowIndex(), dict[bytes, int](), 0, 0
    wanted = {bytes([2, n]) for n in some}
    for seq, rows in enumerate(frames, 1):
        frame, _ = encode(b"epoch..1", seq, end, Batch([Persist(seq, rows, {})]))
        end = frame.end
        index.add(frame, base)
        model.update(frame.places(base))
        base += frame.record_bytes
        assert index.table() == model
        assert len(model) <= len(index) <= max(2 * len(model), 8) + len(rows)
        assert index.keys_from(low) == {key for key in model if key >= low}
        assert index.last_of(wanted) == {key: place for key, place in model.items() if key in wanted}
