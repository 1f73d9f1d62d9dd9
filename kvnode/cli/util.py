"""``kv util``: small helpers for scripts that need no node."""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Final

import anyio
import asyncclick as click

from .command import KvGroup, Lazy, command
from .errors import usage
from .render import Output, is_terminal
from .settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kvnode.data.until import Fields

group: Final = KvGroup(
    "util",
    lazy={
        "until": Lazy("util:until", "When will it next be 9:30, or the last Friday of a month?"),
        "convert": Lazy("util:convert", "Turn values from one form into another."),
    },
    help="Helpers for scripts; they need no node.",
    examples=("kv util until 9:30 --sleep", "kv util convert --from yaml --to json config.yaml"),
)

FORMS: Final = ("json", "jsonl", "yaml", "msgpack", "cbor", "python")
MAX_INPUT_BYTES: Final = 256 << 20
_LONGEST_SLEEP_S: Final = 60.0
"""The clock may be set while we sleep, so look at it again."""
_SECOND: Final = timedelta(seconds=1)
_ENDINGS: Final = {"yml": "yaml", "py": "python", "mp": "msgpack"}

# -- until ---------------------------------------------------------------------------------------------------


@command(
    "until",
    local=True,
    help="""Print the next time at which all of WHEN fits, in local time.

    WHEN is any of: a time (9:30), a date (2026-12-24, tomorrow), a weekday (fri), and numbers with a unit: s min h d wk
    mo yr. 2 fri is the second Friday of a month, -1 d its last day. If it fits right now, that is now.""",
    examples=(
        "kv util until 9:30",
        "kv util until -- -1 fri 18 h",
        "kv util until 29 d 2 mo --human",
        "kv util until sun --inverted --sleep",
    ),
)
@click.argument("when", nargs=-1, required=True)
@click.option("--inverted", "-i", is_flag=True, help="The next time at which it does not fit: when it ends.")
@click.option("--backwards", "-b", is_flag=True, help="The last time instead of the next.")
@click.option("--human", "people", is_flag=True, help="Say how long that is, instead of when.")
@click.option("--sleep", is_flag=True, help="Wait until then, and print nothing.")
@click.pass_context
async def until(
    ctx: click.Context, when: Sequence[str], inverted: bool, backwards: bool, people: bool, sleep: bool
) -> None:
    """See the help text above."""
    from kvnode.data.until import UntilError, parse

    if sleep and backwards:
        raise usage("--sleep waits for what is to come; --backwards looks for what was")
    now = _local_now()
    try:
        fields = parse(when, now.replace(tzinfo=None))
        found = next_time(fields, now, inverted=inverted, backwards=backwards)
    except UntilError as exc:
        raise usage(str(exc)) from None
    if sleep:
        await sleep_until(found)
        return
    left = time_left(found, now)
    out = Output(settings_of(ctx).format)
    data = {"time": found.isoformat(), "seconds": round(left.total_seconds(), 3)}
    out.one(data, lambda: span_text(left) if people else found.isoformat())


def next_time(fields: Fields, now: datetime, *, inverted: bool, backwards: bool) -> datetime:
    """With the system's time zone: a time that a change to summer time leaves out is passed over."""
    from kvnode.data.until import until as search

    local = now.replace(tzinfo=None)
    step = -_SECOND if backwards else _SECOND
    while True:
        local = search(fields, local, inverted=inverted, backwards=backwards)
        found = local.astimezone()
        if found.replace(tzinfo=None) == local:
            return found
        local += step


def time_left(found: datetime, now: datetime) -> timedelta:
    """From `now` until the second `found`, negative when it is over. A second that runs is now."""
    left = found - now
    return timedelta(0) if -_SECOND < left < timedelta(0) else left


def _local_now() -> datetime:
    return datetime.now().astimezone()


async def sleep_until(found: datetime, clock: Callable[[], datetime] = _local_now) -> None:
    """Return when `clock` has come to `found`."""
    while (left := (found - clock()).total_seconds()) > 0:  # noqa: ASYNC110  # a clock has no event
        await anyio.sleep(min(left, _LONGEST_SLEEP_S))


def span_text(span: timedelta) -> str:
    """A duration in its two largest units; a negative one was so long ago."""
    seconds = round(abs(span.total_seconds()))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if count := seconds // size:
            parts.append(f"{count} {unit}")
        seconds %= size
    text = " ".join(parts[:2]) or "now"
    return f"{text} ago" if span < timedelta(0) and parts else text


# -- convert -------------------------------------------------------------------------------------------------


@command(
    "convert",
    local=True,
    help="""Turn the values in FILE (default or -: standard input) into another form, on standard output.

    Every form carries a stream of values. Forms are json, jsonl, yaml, msgpack (as kvnode stores values), cbor and
    python (literals; nothing is run). Without --from, the ending of FILE tells.""",
    examples=(
        "kv util convert --from yaml --to json config.yaml",
        "kv util convert state.msgpack --to jsonl --lengthen",
        "kv util convert table.py --to cbor",
    ),
)
@click.argument("file", default="-")
@click.option("--from", "source", type=click.Choice(FORMS), help="The form of the input.")
@click.option("--to", "target", type=click.Choice(FORMS), default="json", help="The form of the output (default json).")
@click.option("--shorten", is_flag=True, help="In maps with a path: leave out what the path before has (depth).")
@click.option("--lengthen", is_flag=True, help="The other way: make such paths whole.")
@click.pass_context
async def convert(
    ctx: click.Context, file: str, source: str | None, target: str, shorten: bool, lengthen: bool
) -> None:
    """See the help text above."""
    from kvnode.data.convert import FORMS as forms
    from kvnode.data.convert import ConvertError, Lengthen, Shorten
    from kvnode.data.convert import convert as turned

    ending = file.rpartition(".")[2]
    source = source or _ENDINGS.get(ending, ending)
    if source not in FORMS:
        raise usage(f"{'standard input' if file == '-' else file}: of which form is it? Say --from {'|'.join(FORMS)}")
    if shorten and lengthen:
        raise usage("either --shorten or --lengthen")
    if not forms[target].text and is_terminal(sys.stdout):
        raise usage(f"{target} is not for a terminal; send it to a file or a pipe")
    data = await _input(file)
    change: Any = Shorten() if shorten else Lengthen() if lengthen else lambda value: value
    try:
        done = turned(data, source, target, change)
    except ConvertError as exc:
        raise usage(f"{'standard input' if file == '-' else file}: {exc}") from None
    sys.stdout.flush()
    sys.stdout.buffer.write(done)
    sys.stdout.buffer.flush()


async def _input(file: str) -> bytes:
    from .stdin import STDIN_FD, read_chunk

    if file != "-":
        return await anyio.to_thread.run_sync(_read_file, file)
    parts = []
    size = 0
    while chunk := await read_chunk(STDIN_FD):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_INPUT_BYTES:
            raise usage(f"standard input is longer than {MAX_INPUT_BYTES} bytes")
    return b"".join(parts)


def _read_file(file: str) -> bytes:
    try:
        if os.path.getsize(file) > MAX_INPUT_BYTES:
            raise usage(f"{file} is longer than {MAX_INPUT_BYTES} bytes")
        return FilePath(file).read_bytes()
    except OSError as exc:
        raise usage(f"{file}: {exc.strerror}") from None
