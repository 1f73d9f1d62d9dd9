"""Laws of paths: the text form round-trips, keys order and nest like paths, patterns agree with a naive matcher."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvnode.core.path import MAX_ELEMENTS, ROOT, Element, Path, PathError, Pattern, checked_key, key_range_end

_texts = st.one_of(
    st.sampled_from(
        ["", ".", ":", " ", "+", "#", "a", "b", "ab", ":e", "42", "e", "x1f", "_", "\x07", "\x7f", "\u00e4"]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
    st.text(".: +#ex_u0", max_size=6),
)
_integers = st.one_of(st.integers(-3, 3), st.integers(-(1 << 63), (1 << 63) - 1))
elements = st.one_of(_texts, _integers)
paths = st.lists(elements, max_size=6).map(Path)


def _order(path: Path) -> tuple[tuple[int, int | bytes], ...]:
    """What the key must sort like: integers before text, text by code point (UTF-8 sorts the same)."""
    return tuple((0, e) if isinstance(e, int) else (1, e.encode()) for e in path)


@given(paths)
@example(Path((".",)))
@example(Path(("", "", "")))
@example(Path((":42", 42, "42")))
@example(Path(("\x1f",)))
def test_the_text_form_reads_back(path: Path) -> None:
    assert Path.parse(str(path)) == path
    assert Path.parse(str(path)) == Path(tuple(path))


@given(paths, paths)
def test_different_paths_have_different_texts(a: Path, b: Path) -> None:
    assert (str(a) == str(b)) == (a == b)


@given(paths)
def test_the_text_form_is_one_printable_line(path: Path) -> None:
    text = str(path)
    assert text
    assert " " not in text
    assert len(text.splitlines()) == 1


@given(paths)
def test_the_key_reads_back(path: Path) -> None:
    assert Path.from_key(path.key) == path
    assert [type(e) for e in Path.from_key(path.key)] == [type(e) for e in path]


@given(st.lists(st.one_of(elements, st.sampled_from(["a\0", "\ud800", "x" * 2_000, 1 << 63])), max_size=5).map(tuple))
@example(("a",) * (MAX_ELEMENTS + 1))
@example((0x0101010101010101, "a\0"))
def test_elements_from_outside_have_the_key_of_the_path_that_they_are(elements: tuple[Element, ...]) -> None:
    try:
        path = Path(elements)
    except PathError:
        with pytest.raises(PathError):
            checked_key(elements)
    else:
        assert checked_key(elements) == path.key
        assert Path.from_key(path.key) == path


@given(paths, paths)
def test_keys_sort_like_paths(a: Path, b: Path) -> None:
    assert (a.key < b.key) == (_order(a) < _order(b))
    assert (a.key == b.key) == (a == b)


@given(paths, paths)
def test_below_is_key_prefix(a: Path, b: Path) -> None:
    assert a.is_below(b) == a.key.startswith(b.key)
    assert a.is_below(b) == (b.key <= a.key < key_range_end(b.key))


@given(paths, st.lists(elements, max_size=3))
def test_joining_lies_below(path: Path, more: list[Element]) -> None:
    joined = path / tuple(more)
    assert joined.is_below(path)
    assert joined.is_below(ROOT)
    if more:
        assert (path / tuple(more)).parent == path / tuple(more[:-1])


@given(st.text(max_size=12))
@example(":")
@example("a..b")
@example(":u00")
@example(":ud800")
@example(":u0000")
@example("a:")
@example(":" + "9" * 30)
@example(":" + "9" * 5000)
@example(":x" + "f" * 5000)
@example(":x-1f")
def test_any_text_is_a_path_or_a_path_error(text: str) -> None:
    try:
        path = Path.parse(text)
    except PathError as error:
        assert str(error)
    else:
        assert Path.parse(str(path)) == path


@given(st.binary(max_size=24))
@example(b"\x02\xff\x00")
@example(b"\x02a")
@example(b"\x01\x00")
@example(b"\x03")
def test_any_bytes_are_a_key_or_a_path_error(key: bytes) -> None:
    try:
        path = Path.from_key(key)
    except PathError:
        return
    assert path.key == key


# -- patterns --------------------------------------------------------------------------------------------------

_wild = st.sampled_from(["+", "#"])
_plain = st.sampled_from(["a", "b", ":1", ":+", ":#"])
_pieces = st.lists(st.one_of(_plain, _wild), min_size=1, max_size=6).filter(lambda p: p.count("#") <= 4)
_short_paths = st.lists(st.sampled_from(["a", "b", 1, "+", "#"]), max_size=6).map(Path)
_MEANING: dict[str, Element] = {"a": "a", "b": "b", ":1": 1, ":+": "+", ":#": "#"}


def _naive(pieces: list[str], path: tuple[Element, ...]) -> bool:
    """The definition, by recursion."""
    if not pieces:
        return not path
    if pieces[0] == "#":
        return any(_naive(pieces[1:], path[i:]) for i in range(len(path) + 1))
    if not path:
        return False
    return (pieces[0] == "+" or _MEANING[pieces[0]] == path[0]) and _naive(pieces[1:], path[1:])


@given(_pieces, _short_paths)
def test_patterns_match_by_definition(pieces: list[str], path: Path) -> None:
    assert Pattern(".".join(pieces)).matches(path) == _naive(pieces, path)


@given(paths, paths)
def test_the_pattern_below_a_path(a: Path, b: Path) -> None:
    assert Pattern.below(a).matches(b) == b.is_below(a)


@given(_pieces, _short_paths)
def test_matches_lie_below_the_prefix(pieces: list[str], path: Path) -> None:
    got = Pattern(".".join(pieces))
    if got.matches(path):
        assert path.is_below(got.prefix)


@given(_pieces)
def test_patterns_are_values(pieces: list[str]) -> None:
    text = ".".join(pieces)
    assert Pattern(text) == Pattern(text)
    assert hash(Pattern(text)) == hash(Pattern(text))


def test_the_bounds_are_kept() -> None:
    Path(["x"] * MAX_ELEMENTS)
    with pytest.raises(PathError, match="at most 64"):
        Path(["x"] * (MAX_ELEMENTS + 1))
    with pytest.raises(PathError, match="bytes long"):
        Path(["x" * 3000])
