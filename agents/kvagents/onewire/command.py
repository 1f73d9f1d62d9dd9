"""``kv onewire``: what is on the buses, and writing entries for it. A plug-in command of ``kv``."""

from __future__ import annotations

from typing import Any, Final

import asyncclick as click

from kvagents.framework.agent import ROOT
from kvagents.framework.config import Config
from kvagents.framework.console import AgentGroup, PathParam, Unreachable, command, console_of
from kvagents.onewire.agent import OneWire
from kvagents.onewire.bus import ServerError, open_session
from kvagents.onewire.config import DEFAULT_PORT, DEFAULT_SERVER, parse_server
from kvagents.onewire.model import Family, Rom, RomError, family_of
from kvnode.client import ABSENT, Client, Expect, NotFound
from kvnode.core.path import Path

PATH: Final = PathParam()


class _Device(click.ParamType[Rom]):
    """A device id."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Rom:
        """Read it; the error says what is wrong."""
        try:
            return value if isinstance(value, Rom) else Rom.parse(value)
        except RomError as error:
            self.fail(str(error), param, ctx)


# -- scan ---------------------------------------------------------------------------------------------------------


async def _scan(ctx: click.Context, server: str, dest: Path | None) -> None:
    try:
        host, port = parse_server(server)
    except ValueError as error:
        raise click.UsageError(f"--server: {error}") from None
    try:
        async with open_session(host, port) as session:
            found = await session.scan()
    except ServerError as error:
        raise Unreachable(f"{error.message}; --server names another one") from None
    rows = [_found(rom, bus, dest) for rom, bus in sorted(found.items(), key=lambda item: (item[1], item[0]))]
    console_of(ctx).show(("DEVICE", "BUS", "TYPE", "READS", "SETS", "ENTRY"), rows, empty="no devices")


def _found(rom: Rom, bus: str, dest: Path | None) -> tuple[tuple[str, ...], dict[str, Any]]:
    """A device for people and for machines, with an entry that would suit it."""
    family = family_of(rom)
    kind = family.name if family is not None else "unknown"
    reads = [q.name for q in family.quantities] if family is not None else []
    sets = [q.name for q in family.quantities if q.writable] if family is not None else []
    entry = _suggested(rom, family, dest)
    shown = str(entry["dest"]) if entry is not None else "-"
    row = {"device": str(rom), "bus": bus, "family": f"{rom.family:02X}", "type": kind, "reads": reads, "sets": sets}
    cells = (str(rom), bus, kind, _listed(reads), _listed(sets), shown)
    return cells, {**row, "path": str(Path([str(rom)])), "entry": entry}


def _suggested(rom: Rom, family: Family | None, dest: Path | None) -> dict[str, Any] | None:
    if family is None or not family.quantities:
        return None
    return {"dest": str((dest or Path(("home", "sensors"))) / str(rom))}


def _listed(names: list[str]) -> str:
    return "-" if not names else names[0] if len(names) == 1 else f"{names[0]} ... {names[-1]} ({len(names)})"


# -- bind ---------------------------------------------------------------------------------------------------------


async def _bind(ctx: click.Context, agent: str, device: Rom, dest: Path, name: Path | None, **options: Any) -> None:
    own = {key: str(value) if isinstance(value, Path) else value for key, value in options.items() if value is not None}
    path = ROOT / ("onewire", agent) / (name or Path([str(device)]))
    entry: dict[str, Any] = {"dest": str(dest), **own}
    if name is not None:
        entry["device"] = str(device)
    elif "attr" in own:
        path /= str(own["attr"])
        entry["device"] = str(device)
    console = console_of(ctx)
    async with console.session() as session:
        with session.limit():
            expect = await _check(session.client, path, entry)
            await session.client.set(path, entry, timeout=console.timeout_s, expect=expect)
    console.show(("ENTRY", "VALUE"), [((str(path), str(entry)), {"path": str(path), "value": entry})])


async def _check(client: Client, path: Path, entry: dict[str, Any]) -> Expect:
    """What to expect at `path` when it is written. Raises UsageError if it would be wrong."""
    root = Path(path[:3])
    entries: dict[Path, Any] = {}
    async with client.tree(root) as rows:
        async for row in rows:
            entries[row.path] = row.value
    agent = OneWire()
    before = agent.plan(Config(root, entries)).problems
    # What another entry has to say about the new one counts, too; what was wrong before does not.
    wrong = [
        p for p in agent.plan(Config(root, {**entries, path: entry})).problems if p.path == path or p not in before
    ]
    if wrong:
        raise click.UsageError(str(wrong[0]))
    try:
        return (await client.get(path)).dots
    except NotFound:
        return ABSENT


onewire: Final = AgentGroup(
    "onewire",
    help="The devices of 1-Wire buses, and entries for them.",
    examples=("kv onewire scan", "kv onewire bind house 28.67452301EF00 home.attic.temp"),
    commands={
        "scan": command(
            "scan",
            _scan,
            help="List the devices that an owserver has on its buses, those behind hubs too: what can be read and set "
            "of each, and where its values would go. Needs no node.",
            examples=(
                "kv onewire scan",
                "kv onewire scan --server cellar.lan --dest home.cellar",
                "kv onewire scan --format jsonl",
            ),
            params=(
                click.Option(
                    ["--server"],
                    metavar="HOST:PORT",
                    default=f"{DEFAULT_SERVER}:{DEFAULT_PORT}",
                    show_default=True,
                    help="The owserver.",
                ),
                click.Option(["--dest"], type=PATH, help="Suggest paths below this one."),
            ),
        ),
        "bind": command(
            "bind",
            _bind,
            help="Write the entry that lets agent AGENT write the values of DEVICE to DEST, after a check. The agent "
            "follows at once if it runs.",
            examples=(
                "kv onewire bind house 28.67452301EF00 home.attic.temp",
                "kv onewire bind house 28.67452301EF00 home.attic.temp --name attic",
                "kv onewire bind house 29.67452301EF10 home.pump.on --attr PIO.3 --src home.pump.set",
            ),
            params=(
                click.Argument(["agent"]),
                click.Argument(["device"], type=_Device()),
                click.Argument(["dest"], type=PATH),
                click.Option(["--name"], type=PATH, help="Name of the entry (default: the id)."),
                click.Option(["--attr"], metavar="NAME", help="Only this of a device that has several, such as PIO.3."),
                click.Option(["--src"], type=PATH, help="Where commands for a switch are read."),
                click.Option(["--state"], type=PATH, help="Where the switch's answer is written."),
                click.Option(["--server"], metavar="HOST:PORT", help="The owserver, if not that of the agent."),
                click.Option(["--interval"], type=float, metavar="SECONDS", help="Time between readings."),
            ),
        ),
    },
)
"""The command group."""
