"""Reading moat-kv's saved state: paths, values, what has no place here, and files that are broken."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.path import Path
from kvnode.data.moat import MoatError, MoatState, read_state
from tests.support.moat import MoatFile, MoatPath, packed


def read(write: Callable[[MoatFile], None]) -> MoatState:
    file = MoatFile()
    write(file)
    return read_state(io.BytesIO(file.data))


def values(state: MoatState) -> dict[str, Any]:
    return {str(path): value for path, value in state.values.items()}


def test_shortened_paths_are_put_together_again() -> None:
    def write(file: MoatFile) -> None:
        file.state()
        for path in ("a b", "a b c d", "a b c e f", "a b c e g h", "a b c i", "a b j", "k"):
            file.entry(*path.split(), value=path)

    state = read(write)
    assert values(state) == {p.replace(" ", "."): p for p in ("a b", "a b c d", "a b c e f", "a b c e g h")} | {
        "a.b.c.i": "a b c i",
        "a.b.j": "a b j",
        "k": "k",
    }
    assert (state.states, state.skipped, state.cut_at) == (1, [], None)


_elements = st.lists(st.text("ab", min_size=1, max_size=2) | st.integers(0, 2), min_size=1, max_size=5)


@given(st.lists(st.tuples(_elements, st.booleans()), max_size=30))
def test_any_sequence_of_paths_comes_back(paths: list[tuple[list[Any], bool]]) -> None:
    def write(file: MoatFile) -> None:
        for number, (path, whole) in enumerate(paths):
            file.entry(*path, value=number, whole=whole)

    wanted = {Path(path): number for number, (path, _) in enumerate(paths)}
    assert read(write).values == wanted


def test_the_greatest_tock_counts() -> None:
    def write(file: MoatFile) -> None:
        file.entry("a", value=1, tock=5)
        file.entry("a", value=2, tock=3)
        file.entry("b", value=1, tock=1)
        file.entry("b", tock=2)
        file.entry("c", tock=1)
        file.entry("c", value=3, tock=2)
        file.entry("c", tock=1)

    assert values(read(write)) == {"a": 1, "c": 3}


def test_a_log_of_changes_is_read_too() -> None:
    state = read(lambda f: f.record({"node": "s", "tick": 1, "prev": None, "path": ["a"], "value": 7, "tock": 1}))
    assert values(state) == {"a": 7}


def test_values_are_mapped() -> None:
    marked = MoatPath(("a", 3))
    marked.marked = "r"
    when = datetime(2026, 1, 2, 3, 4, 5, 600_000, UTC)
    held = {
        "big": 1 << 80,
        "path": MoatPath(("a", "b.c", 3)),
        "marked": marked,
        "map": {1: [None, True, -1, 2.5, b"x", {"k": when}]},
        "none": None,
    }

    def write(file: MoatFile) -> None:
        for key, value in held.items():
            file.entry(key, value=value)

    state = read(write)
    assert state.values == {
        Path(("big",)): 1 << 80,
        Path(("path",)): Path(("a", "b.c", 3)),
        Path(("marked",)): Path(("a", 3)),
        Path(("map",)): {1: [None, True, -1, 2.5, b"x", {"k": when}]},
        Path(("none",)): None,
    }


def test_a_path_may_come_as_an_extension_object() -> None:
    state = read(lambda f: f.record({"path": MoatPath(("a", 1)), "value": 7, "tock": 1, "chain": None}))
    assert values(state) == {"a.:1": 7}


def test_the_hidden_tree_comes_to_its_own_place_without_credentials() -> None:
    def write(file: MoatFile) -> None:
        file.entry(None, "type", "int", value={"good": [1], "code": "raise"})
        file.entry(None, "auth", "password", "user", "joe", value={"pass": b"secret"})

    state = read(write)
    assert values(state) == {"@.moat.type.int": {"good": [1], "code": "raise"}}
    assert state.hidden() == 1
    (skipped,) = state.skipped
    assert (skipped.path, "credentials" in skipped.why) == ("null.auth.password.user.joe", True)
    assert "secret" not in str(state.skipped)


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ((), "Initial data", "the root holds no value"),
        (("@", "x"), 1, "system's own tree"),
        (("a", 1.5), 1, "not float: 1.5"),
        (("a", True), 1, "not bool: True"),
        (("a", None), 1, "not null: None"),
        (("a", b"x"), 1, "not bytes: b'x'"),
        (("a", 1 << 63), 1, "does not fit 64 bits"),
        (("a",), msgpack.ExtType(4, b"proxy"), "extension type 4"),
        (("a",), {1.5: 2}, "not float: 1.5"),
        (("a",), {MoatPath(("x",)): 2}, "not _Foreign"),
        (("a",), "x" * (1 << 20), "longer than"),
    ],
)
def test_what_has_no_place_is_named_with_the_reason(path: tuple[Any, ...], value: Any, why: str) -> None:
    def write(file: MoatFile) -> None:
        file.entry(*path, value=value)
        file.entry("ok", value=1)

    state = read(write)
    assert values(state) == {"ok": 1}
    (skipped,) = state.skipped
    assert why in skipped.why


def test_what_has_no_place_and_is_deleted_is_not_worth_a_word() -> None:
    state = read(lambda f: f.entry("a", 1.5))
    assert (state.values, state.skipped) == ({}, [])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"hello", "byte 0: no record of moat-kv (a map is expected, this is int)"),
        (packed({"a": 1}) + b"\xc1", "byte 4: no record"),
        (packed({"path": 7, "value": 1}), "a path is a list of elements"),
        (packed({"path": ["a"], "depth": 1, "value": 1}), "depth 1 of a path that follows one of 0 elements"),
        (packed({"path": ["a"], "depth": -1, "value": 1}), "depth -1"),
        (b"\x81\x90\x01", "byte 0: no record"),
    ],
)
def test_other_files_are_refused(data: bytes, says: str) -> None:
    with pytest.raises(MoatError) as caught:
        read_state(io.BytesIO(data))
    assert says in str(caught.value)


def test_a_file_that_breaks_off_says_where() -> None:
    file = MoatFile()
    file.entry("a", value=1)
    whole = len(file.data)
    file.entry("b", value=2)
    for end in range(whole + 1, len(file.data)):
        state = read_state(io.BytesIO(file.data[:end]))
        assert (values(state), state.cut_at) == ({"a": 1}, whole)
    assert read_state(io.BytesIO(file.data)).cut_at is None


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        read_state(io.BytesIO(data))
    except MoatError as err:
        assert "\n" not in str(err)
