"""``kv status`` (and ``kv node status``), and ``kv gc``: what a node says about itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import asyncclick as click

from kvnode.core.path import Path
from kvnode.data.plural import counted

from .command import command
from .errors import usage
from .render import Output, age
from .rows import PATH
from .session import session
from .settings import settings_of
from .table import Table
from .text import printable

_COUNTS: Final = {
    "entries": ("entry", "entries"),
    "conflicts": ("conflict", "conflicts"),
    "tombstones": ("tombstone", "tombstones"),
    "quarantine": ("quarantined", "quarantined"),
}


@command(
    "status",
    help="""Show the node, its peers and its counts.

    LAG is how many changes known here a peer is not known to hold durably. With --format json the object has node,
    peers (name, state, lag, address), entries, conflicts, tombstones and more.""",
    examples=("kv status", "kv status --format json", "kv status --node unix:/run/kvnode/attic.sock"),
)
@click.pass_context
async def status(ctx: click.Context) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        with link.limit():
            found = await link.client.status()
    if out.human:
        _show(out, found)
    else:
        out.one(found, str)


def _show(out: Output, found: dict[str, Any]) -> None:
    current = "current" if found.get("current", True) else "catching up, not current yet"
    out.line(printable(f"node {found.get('node', '?')} of cluster {found.get('cluster', '?')}: {current}"))
    counts = [counted(found[name], *nouns) for name, nouns in _COUNTS.items() if name in found]
    out.line(", ".join(counts))
    store = found.get("store")
    if isinstance(store, dict):
        error = f": {store['error']}" if store.get("error") else ""
        lost = "; it lost something that no peer has made up for yet" if store.get("doubted") else ""
        out.line(printable(f"store {store.get('state', '?')}{error}{lost}"))
    _peers(out, found.get("peers", []))
    _reports(out, found.get("reports", []))


def _peers(out: Output, peers: list[dict[str, Any]]) -> None:
    if not peers:
        out.line("no peers")
        return
    out.line("")
    table = Table(out, ("PEER", "STATE", "LAG", "ADDRESS", "LAST ERROR"))
    for peer in peers:
        lag = peer.get("lag")
        table.add(
            str(peer.get("name") or "?"),
            str(peer.get("state", "?")),
            "?" if lag is None else str(lag),
            str(peer.get("address") or "-"),
            str(peer.get("error") or ""),
        )
    table.end()


def _reports(out: Output, reports: list[dict[str, Any]]) -> None:
    if not reports:
        return
    out.line("")
    now = datetime.now(UTC)
    table = Table(out, ("REPORT", "ABOUT", "LAST", "TEXT"))
    for report in reports:
        last = datetime.fromtimestamp(report.get("last", 0) / 1000, UTC)
        times = f" ({report['count']} times)" if report.get("count", 1) > 1 else ""
        text = f"{report.get('text', '')}{times}"
        table.add(str(report.get("kind", "?")), str(report.get("subject", "")), age(last, now), text)
    table.end()


@command(
    "gc",
    help="""Explain why a deleted path is still remembered.

    A delete is forgotten when every member is known to hold it durably. This says, a line each, what is missing.""",
    examples=("kv gc --explain home.attic.temp", "kv gc --explain home.attic.temp --format json"),
)
@click.option("--explain", "path", type=PATH, metavar="PATH", help="The path to explain.")
@click.pass_context
async def gc(ctx: click.Context, path: Path | None) -> None:
    """See the help text above."""
    if path is None:
        raise usage("give the path to explain: kv gc --explain PATH")
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        with link.limit():
            found = await link.client.gc_explain(path)
    if not out.human:
        out.one({"path": str(path), "explanation": found}, str)
        return
    for line in found or [f"nothing is kept for {path}: it was forgotten, or never deleted"]:
        out.line(printable(line))
