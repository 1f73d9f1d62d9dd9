"""Looking at MessagePack without decoding it: how deep a value is nested.

A decoder runs out of stack at some depth, and at which one depends on who calls it. So depth is bounded where bytes
come in, by a scan that does not recurse.
"""

from __future__ import annotations

from typing import Final

_CONTAINERS: Final = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])
_SIZED: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""bin and str: bytes of the length field."""
_EXT: Final = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_FIXED: Final = {
    **dict.fromkeys((0xC0, 0xC1, 0xC2, 0xC3), 0),
    0xCA: 4,
    0xCB: 8,
    0xCC: 1,
    0xCD: 2,
    0xCE: 4,
    0xCF: 8,
    0xD0: 1,
    0xD1: 2,
    0xD2: 4,
    0xD3: 8,
    0xD4: 2,
    0xD5: 3,
    0xD6: 5,
    0xD7: 9,
    0xD8: 17,
}


def opens(value: bytes) -> bool:
    """Whether one encoded value is a list or a map; all others are not nested at all."""
    return value[0] in _CONTAINERS


def is_too_deep(data: bytes, most: int) -> bool:
    """Whether one encoded value is nested deeper than `most`. Most values are settled by counting the bytes that could
    begin a container.
    """
    if len(data) <= most or len(data) - len(data.translate(None, _CONTAINERS)) <= most:
        return False
    return _depth(data) > most


def _depth(data: bytes) -> int:
    """The nesting depth of well-formed data; what is cut off counts as ended."""
    left: list[int] = []
    deepest = pos = 0
    while pos < len(data):
        size, items = _step(data, pos)
        pos += size
        if left:
            left[-1] -= 1
        if items:
            left.append(items)
            deepest = max(deepest, len(left))
        while left and left[-1] == 0:
            left.pop()
    return deepest


def _step(data: bytes, pos: int) -> tuple[int, int]:
    """Size of the head (with the content of what is no container), and how many items a container holds."""
    head = data[pos]
    if head < 0x80 or head >= 0xE0:
        return 1, 0
    if head < 0xA0:
        return 1, (head & 0x0F) * (2 if head < 0x90 else 1)
    if head < 0xC0:
        return 1 + (head & 0x1F), 0
    if head in _FIXED:
        return 1 + _FIXED[head], 0
    if head in _SIZED:
        width = _SIZED[head]
        return 1 + width + int.from_bytes(data[pos + 1 : pos + 1 + width], "big"), 0
    if head in _EXT:
        width = _EXT[head]
        return 2 + width + int.from_bytes(data[pos + 1 : pos + 1 + width], "big"), 0
    width = 2 if head in (0xDC, 0xDE) else 4
    items = int.from_bytes(data[pos + 1 : pos + 1 + width], "big")
    return 1 + width, items * (2 if head >= 0xDE else 1)
