"""Frames: how messages are cut out of a byte stream.

A frame is four bytes of length, big-endian, and so many bytes of payload (one MessagePack object). The decoder is
sans-I/O: bytes in, payloads out. An announced length above the bound is refused before anything is gathered, so
a peer cannot make us allocate by announcing; and since the connection has lost its place then, it must be closed.
"""

from __future__ import annotations

from typing import Final

HEADER_BYTES: Final = 4
MAX_PAYLOAD_BYTES: Final = 8 * 1024 * 1024
"""The largest payload, in either direction."""

_SHORT_BYTES: Final = 1024
_HEADERS: Final = tuple(size.to_bytes(HEADER_BYTES, "big") for size in range(_SHORT_BYTES))
"""Of short payloads, at hand: most are."""
_TEXT_STARTS: Final = (b"GET ", b"POST", b"HEAD", b"PUT ", b"HTTP", b"SSH-", b"\x16\x03\x01", b"\x16\x03\x03")


class FrameError(ValueError):
    """What arrived is no sequence of frames; the connection is of no further use."""


def frame(payload: bytes) -> bytes:
    """`payload` with its header. Raises FrameError if it exceeds :data:`MAX_PAYLOAD_BYTES`."""
    size = len(payload)
    if size < _SHORT_BYTES:
        return _HEADERS[size] + payload
    if size > MAX_PAYLOAD_BYTES:
        raise FrameError(f"a message of {size} bytes is too large; the limit is {MAX_PAYLOAD_BYTES}")
    return size.to_bytes(HEADER_BYTES, "big") + payload


class FrameDecoder:
    """Gathers bytes and gives the payloads that are complete.

    `max_payload` is the bound in bytes; it may be changed between calls (small until a connection has said who
    it is).
    """

    __slots__ = ("_gathered", "_parts", "_wanted", "max_payload")

    def __init__(self, max_payload: int = MAX_PAYLOAD_BYTES) -> None:
        self.max_payload = max_payload
        self._parts: list[bytes] = []
        self._gathered = 0
        self._wanted = HEADER_BYTES

    @property
    def buffered_bytes(self) -> int:
        """Bytes of a frame that is not yet complete: at most one frame, and one chunk that was fed."""
        return self._gathered

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that `data` completes, in order. Raises FrameError; then the decoder is of no further use."""
        if self._parts:
            self._parts.append(data)
            self._gathered += len(data)
            if self._gathered < self._wanted:
                return []
            data = b"".join(self._parts)
            self._parts.clear()
        elif not data:
            return []
        return self._cut(data)

    def _cut(self, data: bytes) -> list[bytes]:
        payloads: list[bytes] = []
        size = len(data)
        pos = 0
        wanted = HEADER_BYTES
        while size - pos >= HEADER_BYTES:
            start = pos + HEADER_BYTES
            length = int.from_bytes(data[pos:start], "big")
            if length > self.max_payload:
                raise FrameError(_describe(data[pos:start], length, self.max_payload))
            wanted = HEADER_BYTES + length
            if size - pos < wanted:
                break
            pos = start + length
            payloads.append(data[start:pos])
            wanted = HEADER_BYTES
        if pos < size:
            self._parts.append(data[pos:] if pos else data)
        self._gathered = size - pos
        self._wanted = wanted
        return payloads


def _describe(header: bytes, length: int, limit: int) -> str:
    if header.startswith(_TEXT_STARTS) or any(start.startswith(header[:3]) for start in _TEXT_STARTS):
        return "this is no kvnode connection: the other side speaks HTTP, TLS or SSH"
    return f"a frame of {length} bytes was announced; the limit is {limit}"
