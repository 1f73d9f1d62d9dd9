"""What is checked of a request before anything is done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.client import protocol as p
from kvnode.codec.values import pack
from kvnode.core.path import Path, PathError
from kvnode.core.ticks import Dot
from kvnode.node.requests import RequestError, checked_changes, checked_path

elements = st.lists(
    st.text(max_size=4) | st.integers(-(1 << 64), 1 << 64) | st.sampled_from(["a\0", "\ud800", "x" * 3000]), max_size=4
).map(tuple)


@given(elements)
def test_a_change_has_the_path_and_the_key_of_it_that_path_itself_would_make(wire: tuple[str | int, ...]) -> None:
    try:
        wanted: Path | None = Path(wire)
    except PathError:
        wanted = None
    if wanted is None:
        with pytest.raises(RequestError) as caught:
            checked_changes([p.Op(wire, None)], "me")
        assert caught.value.code == "bad_path"
        return
    (change,) = checked_changes([p.Op(wire, pack(1), (Dot("n~1", 2),), 3, 4, if_changed=True)], "me")
    assert isinstance(change.path, Path)
    assert (change.path, change.key, checked_path(wire)) == (wanted, wanted.key, wanted)
    assert (change.value, change.author, change.expect) == (pack(1), "me", frozenset({Dot("n~1", 2)}))
    assert (change.expiry, change.ttl_ms, change.if_changed, change.principal) == (3, 4, True, None)


def test_a_value_that_is_none_is_refused() -> None:
    with pytest.raises(RequestError) as caught:
        checked_changes([p.Op(("a",), b"\xc1")], "me")
    assert caught.value.code == "bad_value"
