from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.codec.framing import HEADER_BYTES, MAX_PAYLOAD_BYTES, FrameDecoder, FrameError, frame


@given(st.lists(st.binary(max_size=300)), st.lists(st.integers(1, 400), min_size=1))
def test_any_cutting_gives_the_payloads_back(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(frame, payloads))
    decoder = FrameDecoder()
    got: list[bytes] = []
    pos = turn = 0
    while pos < len(stream):
        step = cuts[turn % len(cuts)]
        got += decoder.feed(stream[pos : pos + step])
        pos += step
        turn += 1
    assert got == payloads
    assert decoder.buffered_bytes == 0
    assert decoder.feed(b"") == []


def test_the_header_is_four_bytes_big_endian() -> None:
    assert frame(b"abc") == b"\0\0\0\3abc"
    assert HEADER_BYTES == 4


def test_both_sides_refuse_what_is_too_large() -> None:
    with pytest.raises(FrameError, match="too large"):
        frame(bytes(MAX_PAYLOAD_BYTES + 1))
    assert len(FrameDecoder().feed(frame(bytes(MAX_PAYLOAD_BYTES)))) == 1
    with pytest.raises(FrameError, match=r"a frame of 8388609 bytes was announced; the limit is 8388608"):
        FrameDecoder().feed((MAX_PAYLOAD_BYTES + 1).to_bytes(4, "big"))


def test_the_bound_can_grow_once_the_peer_is_known() -> None:
    decoder = FrameDecoder(max_payload=10)
    assert decoder.feed(frame(b"hello")) == [b"hello"]
    with pytest.raises(FrameError):
        FrameDecoder(max_payload=10).feed(frame(bytes(11)))
    decoder.max_payload = 100
    assert decoder.feed(frame(bytes(11))) == [bytes(11)]


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n", b"SSH-2.0-x", b"\x16\x03\x01\x02\x00\x01"])
def test_other_protocols_are_named(start: bytes) -> None:
    with pytest.raises(FrameError, match="no kvnode connection"):
        FrameDecoder().feed(start)
