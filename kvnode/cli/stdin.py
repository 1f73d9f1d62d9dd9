"""Reading standard input or a file without blocking the event loop, and so that Ctrl-C always works.

A worker thread that waits for input cannot be interrupted, and Python waits for ordinary threads when it ends; so
the reads are done in daemon threads, by :func:`os.read`, which holds no lock that the end of the process needs.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from typing import Final

from .errors import usage

CHUNK_BYTES: Final = 1 << 18
MAX_LINE_BYTES: Final = 32 << 20
STDIN_FD: Final = 0


async def read_chunk(fd: int) -> bytes:
    """The next bytes, empty at the end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()

    def settle(data: bytes | None, error: OSError | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(data or b"")

    def work() -> None:
        data, error = None, None
        try:
            data = os.read(fd, CHUNK_BYTES)
        except OSError as exc:
            error = exc
        try:
            loop.call_soon_threadsafe(settle, data, error)
        except RuntimeError:
            return  # the loop has ended: nobody waits any more

    threading.Thread(target=work, daemon=True, name="kv reads its input").start()
    return await done


async def read_text(limit: int) -> str:
    """All of standard input, as UTF-8 text of at most `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    while chunk := await read_chunk(STDIN_FD):
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            raise usage(f"standard input is longer than {limit} bytes")
    return decode(b"".join(parts), "standard input")


async def read_lines(fd: int, name: str) -> AsyncIterator[tuple[int, str]]:
    """Line number (from 1) and text of each line that is not blank. `name` is for messages."""
    rest = b""
    number = 0
    while chunk := await read_chunk(fd):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            number += 1
            if line.strip():
                yield number, decode(line, f"{name}, line {number}")
        if len(rest) > MAX_LINE_BYTES:
            raise usage(f"{name}, line {number + 1}: longer than {MAX_LINE_BYTES} bytes")
    if rest.strip():
        yield number + 1, decode(rest, f"{name}, line {number + 1}")


def decode(data: bytes, what: str) -> str:
    """UTF-8 text; `what` is for the message if it is not."""
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise usage(f"{what}: not UTF-8 text (byte {exc.start + 1})") from None
