"""Paths: tuples of text and integers, their text form, their sort key, and patterns over them.

A path names one entry. Its text form is dotted, with a colon as escape:

======  ==========================================
text    meaning
======  ==========================================
``:``   the root (the whole path)
``:.``  a dot inside an element
``::``  a colon inside an element
``:_``  a space inside an element
``:e``  the empty text element (the whole element)
``:42`` the integer 42 (the whole element)
``:x1f``  the integer 31, written in hex (the whole element)
``:u0007``  the character U+0007, four hex digits
======  ==========================================

so ``home.attic.temp`` or ``knx.:1.:2.:3``. The *key* of a path is a byte string with two properties on which
the ordered tree rests: keys sort like paths (integers before text), and a path is below another exactly if
its key starts with the other's key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from functools import lru_cache
from typing import Final

Element = str | int

MAX_ELEMENTS: Final = 64
MAX_KEY_BYTES: Final = 2048
_INT_BIAS: Final = 1 << 63
_TAG_INT: Final = 1
_TAG_STR: Final = 2
_NUL: Final = b"\0"
_TEXT: Final = b"\x02"
_join: Final = "\0\x02".join

_ESCAPES: Final = {".": ":.", ":": "::", " ": ":_"}
_UNESCAPES: Final = {".": ".", ":": ":", "_": " ", "+": "+", "#": "#"}
_INTEGER: Final = re.compile(r":(-?[0-9]{1,19})\Z")
_HEX: Final = re.compile(r":x(-?[0-9a-fA-F]{1,16})\Z")


class PathError(ValueError):
    """A text or tuple that is no path. The message says what is wrong and where."""


class Path(tuple[Element, ...]):
    """A path: a tuple of ``str`` and ``int`` elements; the empty one is the root.

    ``Path(("home", 3))`` checks its elements; ``Path.parse("home.:3")`` reads the text form and ``str()`` gives
    it back. Raises :class:`PathError`.
    """

    __slots__ = ()

    def __new__(cls, elements: Iterable[Element] = ()) -> Path:
        """Check the elements; a path is taken as it is."""
        if isinstance(elements, Path):
            return elements
        if isinstance(elements, (str, bytes)):
            raise PathError("a path is built from its elements; use Path.parse() for the text form")
        self = super().__new__(cls, elements)
        _check(self)
        return self

    @classmethod
    def parse(cls, text: str) -> Path:
        """Read the text form."""
        if ":" not in text:  # no escapes, which is most frequent
            elements = text.split(".")
            if "" not in elements:
                checked_key(elements)
                return tuple.__new__(cls, elements)
        return cls(_parse_element(e, text) for e in _split(text))

    def __str__(self) -> str:
        return ".".join(_format_element(e) for e in self) if self else ":"

    def __repr__(self) -> str:
        return f"Path({str(self)!r})"

    def __truediv__(self, other: Element | Iterable[Element]) -> Path:
        """``path / "x"`` or ``path / ("x", 3)``: the path below."""
        more = (other,) if isinstance(other, (str, int)) else tuple(other)
        return Path((*self, *more))

    @property
    def parent(self) -> Path:
        """The path one level up; the root's parent is the root."""
        return Path(self[:-1])

    def is_below(self, other: tuple[Element, ...]) -> bool:
        """Whether this path is `other` or lies below it."""
        return self[: len(other)] == other

    @property
    def key(self) -> bytes:
        """The sort key, see the module's text."""
        return path_key(self)

    @classmethod
    def from_key(cls, key: bytes) -> Path:
        """The path that has this key."""
        return cls(_decode_key(key))


def _check(path: tuple[Element, ...]) -> None:
    if len(path) > MAX_ELEMENTS:
        raise PathError(f"a path has at most {MAX_ELEMENTS} elements, this one has {len(path)}")
    size = 0
    for element in path:
        if type(element) is int:
            if not -_INT_BIAS <= element < _INT_BIAS:
                raise PathError(f"the integer {element} does not fit 64 bits")
            size += 9
        elif type(element) is str:
            size += _check_text(element)
        else:
            raise PathError(f"a path element is text or an integer, not {type(element).__name__}")
    if size > MAX_KEY_BYTES:
        raise PathError(f"a path is at most {MAX_KEY_BYTES} bytes long, this one is {size}")


def _check_text(element: str) -> int:
    if element.isascii():
        size = len(element)
    else:
        try:
            size = len(element.encode())
        except UnicodeEncodeError:
            raise PathError(f"the element {element!r} is not valid Unicode text") from None
    if "\0" in element:
        raise PathError(f"the element {element!r} contains a NUL character")
    return size + 2


ROOT: Final = Path()


# -- text form -----------------------------------------------------------------------------------------------


def _split(text: str) -> list[str]:
    """Cut at the dots that no colon escapes; each piece still carries its escapes."""
    if text == ":":
        return []
    if not text:
        raise PathError("an empty text is no path; the root is written ':'")
    pieces: list[str] = []
    start = pos = 0
    while pos < len(text):
        if text[pos] == ":":
            pos += 2
        elif text[pos] == ".":
            pieces.append(text[start:pos])
            pos += 1
            start = pos
        else:
            pos += 1
    pieces.append(text[start:])
    return pieces


def _parse_element(piece: str, text: str) -> Element:
    if not piece:
        raise PathError(f"empty element in {text!r}; the empty text is written ':e'")
    if piece[0] == ":":
        if piece == ":e":
            return ""
        if found := _INTEGER.match(piece):
            return int(found[1])
        if found := _HEX.match(piece):
            return int(found[1], 16)
    return _unescape(piece, text) if ":" in piece else piece


def _unescape(piece: str, text: str) -> str:
    out: list[str] = []
    pos = 0
    while pos < len(piece):
        char = piece[pos]
        if char != ":":
            out.append(char)
            pos += 1
            continue
        code = piece[pos + 1 : pos + 2]
        if code in _UNESCAPES and code:
            out.append(_UNESCAPES[code])
            pos += 2
        elif code == "u" and re.fullmatch(r"[0-9a-fA-F]{4}", piece[pos + 2 : pos + 6]):
            out.append(chr(int(piece[pos + 2 : pos + 6], 16)))
            pos += 6
        else:
            raise PathError(f"unknown escape ':{code}' in {text!r}; a colon itself is written '::'")
    return "".join(out)


def _format_element(element: Element) -> str:
    if isinstance(element, int):
        return f":{element}"
    if not element:
        return ":e"
    if element.isalnum():
        return element
    return "".join(_ESCAPES.get(c) or (c if c.isprintable() or ord(c) > 0xFFFF else f":u{ord(c):04x}") for c in element)


# -- keys ----------------------------------------------------------------------------------------------------


def path_key(path: tuple[Element, ...]) -> bytes:
    """The order-preserving key of a path (see the module's text)."""
    try:
        text = _join(path)  # type: ignore[arg-type]  # a TypeError, if one of the elements is an integer
    except TypeError:
        return _mixed_key(path)
    return _TEXT + text.encode() + _NUL if path else b""


def checked_key(path: Sequence[Element]) -> bytes:
    """The key of elements that come from outside. Raises :class:`PathError` if they are no path."""
    try:
        key = _TEXT + _join(path).encode() + _NUL  # type: ignore[arg-type]  # as above
    except (TypeError, UnicodeEncodeError):
        return Path(path).key
    if key.count(_NUL) == len(path) <= MAX_ELEMENTS and len(key) <= MAX_KEY_BYTES:
        return key  # text only, and no NUL besides those that end the elements
    return Path(path).key  # says what is wrong, if it is not merely the root


def _mixed_key(path: tuple[Element, ...]) -> bytes:
    parts: list[bytes] = []
    for element in path:
        if isinstance(element, str):
            parts.append(b"\x02" + element.encode() + b"\x00")
        else:
            parts.append(b"\x01" + (element + _INT_BIAS).to_bytes(8, "big"))
    return b"".join(parts)


def key_range_end(key: bytes) -> bytes:
    """An upper bound of all keys at or below the path with this key: no tag byte is as high."""
    return key + b"\xff"


def _decode_key(key: bytes) -> Iterator[Element]:
    pos = 0
    while pos < len(key):
        if key[pos] == _TAG_INT and len(key) >= pos + 9:
            yield int.from_bytes(key[pos + 1 : pos + 9], "big") - _INT_BIAS
            pos += 9
        elif key[pos] == _TAG_STR and (end := key.find(0, pos)) > 0:
            yield _decode_text(key[pos + 1 : end])
            pos = end + 1
        else:
            raise PathError(f"{key.hex()} is no path key")


def _decode_text(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise PathError(f"{text.hex()} is no text of a path key") from None


# -- patterns ------------------------------------------------------------------------------------------------


class Pattern:
    """A path with wildcards: the element ``+`` stands for one level, ``#`` for any number of levels, none included.

    The text form is a path's; a literal plus or hash is written ``:+`` or ``:#``. Patterns are values: equal
    text, equal pattern.
    """

    __slots__ = ("_elements", "_many", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._elements = tuple(_pattern_element(piece, text) for piece in _split(text))
        self._many = sum(e is _MANY for e in self._elements)
        if self._many > 4:
            raise PathError(f"{text!r} has more than four '#'")

    @classmethod
    def below(cls, path: tuple[Element, ...]) -> Pattern:
        """The pattern of `path` and all below it."""
        return cls(f"{_literal(path)}.#" if path else "#")

    def matches(self, path: tuple[Element, ...]) -> bool:
        """Whether the whole of `path` fits."""
        if not self._many:
            return len(path) == len(self._elements) and all(map(_fits, self._elements, path))
        return _match(self._elements, path)

    @property
    def prefix(self) -> Path:
        """The longest path that every match is at or below."""
        fixed: list[Element] = []
        for element in self._elements:
            if not isinstance(element, (str, int)):
                break
            fixed.append(element)
        return Path(fixed)

    @property
    def fixed(self) -> int:
        """How many elements are no wildcards: the more, the more specific."""
        return sum(not isinstance(e, _Wildcard) for e in self._elements)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self._elements == other._elements

    def __hash__(self) -> int:
        return hash(self._elements)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


class _Wildcard(Enum):
    """What stands for elements; members, so that a copy of a pattern has the same ones."""

    ONE = "+"
    MANY = "#"


_ONE: Final = _Wildcard.ONE
_MANY: Final = _Wildcard.MANY
_PatternElement = str | int | _Wildcard


def _literal(path: tuple[Element, ...]) -> str:
    return ".".join(f":{e}" if e in ("+", "#") else _format_element(e) for e in path)


def _pattern_element(piece: str, text: str) -> _PatternElement:
    if piece == "+":
        return _ONE
    if piece == "#":
        return _MANY
    return _parse_element(piece, text)


def _fits(want: _PatternElement, have: Element) -> bool:
    return want is _ONE or want == have


def _match(pattern: tuple[_PatternElement, ...], path: tuple[Element, ...]) -> bool:
    """Match with ``#``: the set of pattern positions reached, advanced element by element; linear in the path."""
    reached = _skip_many(pattern, {0})
    for element in path:
        step: set[int] = set()
        for at in reached:
            if at == len(pattern):
                continue
            if pattern[at] is _MANY:
                step.add(at)
            elif _fits(pattern[at], element):
                step.add(at + 1)
        reached = _skip_many(pattern, step)
    return len(pattern) in reached


def _skip_many(pattern: tuple[_PatternElement, ...], reached: set[int]) -> set[int]:
    out = set(reached)
    for at in sorted(reached):
        while at < len(pattern) and pattern[at] is _MANY:
            at += 1
            out.add(at)
    return out


@lru_cache(maxsize=1024)
def pattern(text: str) -> Pattern:
    """:class:`Pattern` of `text`, remembered."""
    return Pattern(text)
