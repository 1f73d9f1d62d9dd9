"""``kv dump``: all values in canonical form, so that equal stores print equal bytes.

One line per path that has a value, in path order::

    {"path":"home.temp","versions":[{"author":"kv","dot":"a~0123456789abcdef:7","stamp":1,"value":21.5}]}

The versions are those that hold a value now, sorted by dot; `expiry` (milliseconds since 1970 UTC) is there for those
that will expire, `lease` (the node that holds it, and milliseconds from the stamp) for those to be renewed. Keys are
sorted and there are no blanks. Deletes, tick vectors and what has expired are left out: they depend on what each node
could already forget. ``--records`` adds them as the stored record, for ``kv load --versions``; such a dump need not be
equal between nodes.
"""

from __future__ import annotations

import base64
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final

import asyncclick as click

from kvnode.codec.values import ValueCodecError, unpack
from kvnode.core.entry import Siblings, Version, decode_record
from kvnode.core.path import Path
from kvnode.core.ticks import Known

from .command import command
from .progress import Progress
from .render import Output, canonical_json, to_data
from .rows import below_argument
from .session import Session, session
from .settings import settings_of

if TYPE_CHECKING:
    from kvnode.client.streams import DumpRow

_SPOOL_BYTES: Final = 8 << 20

Sink = Callable[[dict[str, Any]], None]


# -- lines ---------------------------------------------------------------------------------------------------


def dump_row(key: bytes, record: bytes, now_ms: int, *, with_record: bool = False) -> dict[str, Any] | None:
    """The line of one path, None if it has no value (with `with_record` each path has a line)."""
    siblings: Siblings = decode_record(record)
    versions = [version_row(v) for v in sorted(siblings, key=lambda v: v.dot) if not v.is_gone(now_ms)]
    if not versions and not with_record:
        return None
    row: dict[str, Any] = {"path": str(Path.from_key(key)), "versions": versions}
    if with_record:
        row["record"] = base64.b64encode(record).decode()
    return row


def version_row(version: Version) -> dict[str, Any]:
    """One version that holds a value."""
    body = version.details
    row: dict[str, Any] = {"dot": str(version.dot), "stamp": version.stamp, "author": body.author}
    data = bytes(body.value)
    try:
        row["value"] = to_data(unpack(data))
    except ValueCodecError:
        row["value"] = {"$msgpack": base64.b64encode(data).decode()}
    if body.expiry is not None:
        row["expiry"] = body.expiry
    if body.lease is not None:
        row["lease"] = [body.lease.holder, body.lease.ttl_ms]
    return row


def known_row(known: Known) -> dict[str, Any]:
    """The header: per incarnation the first and last tick of each range."""
    return {"known": {inc: _ranges(ticks.bounds) for inc, ticks in known.map.items()}}


def _ranges(bounds: tuple[int, ...]) -> list[list[int]]:
    return [[bounds[at], bounds[at + 1] - 1] for at in range(0, len(bounds), 2)]


# -- the command ---------------------------------------------------------------------------------------------


@command(
    "dump",
    help="""Print the values at and below PATH (default: all) in canonical form: equal stores print equal bytes.

    Each line is one path with its versions, in JSON. --known adds a first line with the changes that the node
    knows; --records adds to each line the stored record, deletes included, for kv load --versions.""",
    examples=(
        "kv dump > backup.jsonl",
        "kv dump home --format jsonl",
        "kv dump --known --records > store.jsonl",
    ),
)
@below_argument
@click.option("--known", "with_known", is_flag=True, help="Put a line with the known ticks before the rest.")
@click.option("--records", is_flag=True, help="Add the stored records, which kv load --versions takes.")
@click.pass_context
async def dump(ctx: click.Context, path: Path, with_known: bool, records: bool) -> None:
    """See the help text above."""
    settings = settings_of(ctx)
    out = Output("jsonl" if settings.format == "human" else settings.format)
    async with session(ctx) as link:
        if not with_known:
            with _items(out) as write, _counted(out, write) as sink:
                await _each(link, path, records, sink)
            return
        with tempfile.SpooledTemporaryFile(_SPOOL_BYTES, "w+", encoding="utf-8", newline="\n") as spool:
            with _counted(out, lambda row: _spool(spool, row)) as sink:
                known = await _each(link, path, records, sink)
            spool.seek(0)
            with _items(out) as write:
                write(known_row(known))
                for line in spool:
                    write(json.loads(line))


@contextmanager
def _items(out: Output) -> Iterator[Sink]:
    """JSON Lines in canonical form; JSON and YAML as any list."""
    if out.format == "jsonl":
        yield lambda row: out.line(canonical_json(row))
    else:
        with out.items() as write:
            yield write


@contextmanager
def _counted(out: Output, write: Sink) -> Iterator[Sink]:
    """Tell how many there are by now, unless people see them pass anyway."""
    count = 0
    if out.terminal:
        yield write
        return
    with Progress() as progress:

        def sink(row: dict[str, Any]) -> None:
            nonlocal count
            write(row)
            count += 1
            progress.show(f"{count} paths")

        yield sink


def _spool(spool: IO[str], row: dict[str, Any]) -> None:
    spool.write(f"{canonical_json(row)}\n")


async def _each(link: Session, path: Path, with_record: bool, sink: Sink) -> Known:
    """Hand each line to `sink`; gives what the node knew at the end."""
    now_ms = time.time_ns() // 1_000_000
    rows = link.client.dump(path)
    async with rows:
        while True:
            found: DumpRow | None = None
            with link.limit():
                found = await anext(rows, None)
            if found is None:
                break
            row = dump_row(found.key, found.record, now_ms, with_record=with_record)
            if row is not None:
                sink(row)
        return rows.known
