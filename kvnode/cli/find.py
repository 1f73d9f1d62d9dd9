"""``kv node find``: nodes that announce themselves on the local network."""

from __future__ import annotations

import asyncclick as click

from .command import command
from .errors import CliError
from .render import Output
from .settings import settings_of
from .table import print_rows


@command(
    "find",
    local=True,
    help="""List the nodes that announce themselves on the local network, by mDNS.

    Nodes announce themselves only where links are encrypted. What they say of themselves is unproven: a name in this
    list is a hint where to connect to, not a node of yours.""",
    examples=("kv node find", "kv node find --seconds 10 --cluster house --format jsonl"),
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1, max=600),
    default=3.0,
    show_default=True,
    metavar="N",
    help="Listen for so long.",
)
@click.option("--cluster", metavar="NAME", help="Only nodes of this cluster.")
@click.option("--interface", "interfaces", multiple=True, metavar="ADDRESS", help="Only at this own address.")
@click.pass_context
async def find(ctx: click.Context, seconds: float, cluster: str | None, interfaces: tuple[str, ...]) -> None:
    """See the help text above."""
    from kvnode.node import mdns

    out = Output(settings_of(ctx).format)
    try:
        found = await mdns.find(seconds, interfaces=interfaces or None)
    except mdns.MdnsUnavailable as err:
        raise CliError(str(err)) from None
    rows = (
        (
            (node.name, node.cluster, ", ".join(node.addresses)),
            {"name": node.name, "cluster": node.cluster, "addresses": list(node.addresses)},
        )
        for node in found
        if cluster is None or node.cluster == cluster
    )
    print_rows(out, ("NAME", "CLUSTER", "ADDRESSES"), rows, empty="no node announces itself here")
