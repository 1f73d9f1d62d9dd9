"""Paths: text form, escapes, errors in words, patterns."""

from __future__ import annotations

import pytest

from kvnode.core.path import MAX_KEY_BYTES, ROOT, Path, PathError, Pattern, key_range_end, path_key, pattern


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        (":", ()),
        ("home.attic.temp", ("home", "attic", "temp")),
        ("knx.:1.:2.:-3", ("knx", 1, 2, -3)),
        ("a:.b", ("a.b",)),
        ("a::b", ("a:b",)),
        ("a:_b", ("a b",)),
        (":e", ("",)),
        (":e.:e", ("", "")),
        ("::e", (":e",)),
        ("::42", (":42",)),
        ("42", ("42",)),
        (":_42", (" 42",)),
        ("bell:u0007", ("bell\x07",)),
        ("\u00fcber.:0", ("\u00fcber", 0)),
        ("@.nodes.A", ("@", "nodes", "A")),
    ],
)
def test_text_form(text: str, elements: tuple[str | int, ...]) -> None:
    assert Path.parse(text) == elements
    assert str(Path(elements)) == text


def test_integers_are_also_read_in_hex() -> None:
    assert Path.parse(":x1f.:x-A") == (31, -10)
    assert str(Path.parse(":x1f")) == ":31"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the root is written ':'"),
        ("a..b", "written ':e'"),
        (".a", "empty element"),
        ("a.", "empty element"),
        ("a:b", "a colon itself is written '::'"),
        ("a:", "unknown escape ':'"),
        (":u12", "unknown escape ':u'"),
        (":u0000", "NUL"),
        (":9223372036854775808", "64 bits"),
        ("x" * (MAX_KEY_BYTES + 1), "bytes long"),
    ],
)
def test_errors_say_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(PathError) as caught:
        Path.parse(text)
    assert says in str(caught.value)


@pytest.mark.parametrize("elements", ["home.attic", b"home", [1.5], [None], [True], [("a",)], ["\ud800"], ["a\0"]])
def test_only_text_and_integers_make_a_path(elements: object) -> None:
    with pytest.raises(PathError):
        Path(elements)  # type: ignore[arg-type]


def test_walking() -> None:
    path = Path.parse("home.attic")
    assert path / "temp" == Path.parse("home.attic.temp")
    assert path / 3 == Path.parse("home.attic.:3")
    assert path / ("a", 1) == Path.parse("home.attic.a.:1")
    assert path.parent == ("home",)
    assert ROOT.parent == ROOT
    assert path.is_below(ROOT)
    assert path.is_below(path)
    assert not path.parent.is_below(path)
    assert Path(path) is path
    assert repr(path) == "Path('home.attic')"


def test_keys() -> None:
    assert ROOT.key == b""
    assert Path.from_key(b"") == ROOT
    in_order = [":", ":-1", ":0", ":7", ":e", "a", "a.:1", "a.b", "a.b.c", "a:_", "aa", "b"]
    keys = [Path.parse(text).key for text in in_order]
    assert keys == sorted(keys)
    below = [k for k in keys if path_key(("a",)) <= k < key_range_end(path_key(("a",)))]
    assert [str(Path.from_key(k)) for k in below] == ["a", "a.:1", "a.b", "a.b.c"]


@pytest.mark.parametrize(
    ("text", "path", "fits"),
    [
        ("home.+.temp", "home.attic.temp", True),
        ("home.+.temp", "home.temp", False),
        ("home.+.temp", "home.:3.temp", True),
        ("#", ":", True),
        ("home.#", "home", True),
        ("home.#", "home.a.b.c", True),
        ("home.#", "homes", False),
        ("#.temp", "temp", True),
        ("#.temp.#", "a.temp.b", True),
        ("#.temp.#", "a.b", False),
        ("+", ":", False),
        (":+", "+", True),
        (":+", "x", False),
        (":#.a", "#.a", True),
        (":1", ":1", True),
        (":1", "1", False),
    ],
)
def test_patterns(text: str, path: str, fits: bool) -> None:
    assert pattern(text).matches(Path.parse(path)) is fits


def test_pattern_values() -> None:
    assert pattern("a.+") == Pattern("a.+")
    assert pattern("a.:1") == Pattern("a.:x1")
    assert pattern("a.+") != Pattern("a.:+")
    assert Pattern("home.:3.+.x").prefix == ("home", 3)
    assert Pattern.below(ROOT) == Pattern("#")
    assert Pattern.below(Path(("+", "#"))).matches(Path(("+", "#", "x")))
    assert repr(Pattern("a.#")) == "Pattern('a.#')"
    with pytest.raises(PathError, match="more than four"):
        Pattern("#.#.#.#.#")
    with pytest.raises(PathError):
        Pattern("a..b")
