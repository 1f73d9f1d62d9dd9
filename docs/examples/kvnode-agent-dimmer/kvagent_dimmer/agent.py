"""The agent: what its configuration means, and what a lamp does while it runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.resources import files
from typing import ClassVar

import anyio

from kvagent_dimmer.bus import open_box
from kvagents.framework.agent import AgentKind
from kvagents.framework.binding import Input, Output, plan_bindings, read_input, read_output
from kvagents.framework.buses import network_bus
from kvagents.framework.check import Checker
from kvagents.framework.claim import Terms
from kvagents.framework.config import Config, Plan
from kvagents.framework.drive import Feed, drive
from kvagents.framework.link import Link
from kvnode.core.path import Path


@dataclass(frozen=True, slots=True)
class Lamp:
    """What the configuration says of one lamp."""

    box: str
    number: int
    interval_s: float
    input: Input | None
    output: Output | None


def read_lamp(config: Config, path: Path) -> Lamp | None:
    """The lamp at an entry; None for one that only says what the lamps below it share."""
    attributes = config.inherited(path)
    if "lamp" not in attributes or "box" not in attributes:
        return None  # it only says what the lamps below it share
    interval_s = attributes.get("interval", 2)
    return Lamp(attributes["box"], attributes["lamp"], interval_s, read_input(config, path), read_output(config, path))


class Dimmer(AgentKind[Lamp]):
    """Agent kind ``dimmer``; a binding is a lamp."""

    kind: ClassVar[str] = "dimmer"
    summary: ClassVar[str] = "lamps on a dimmer box"
    # Two agents that set one lamp would undo each other's work.
    terms: ClassVar[Terms] = Terms(two_holders="unsafe")

    @cached_property
    def _checker(self) -> Checker:
        return Checker(json.loads((files("kvagent_dimmer") / "config.schema.json").read_text()))

    def plan(self, config: Config) -> Plan[Lamp]:
        """What the entries ask for."""
        return plan_bindings(
            config, self._checker, read_lamp, '{"box": "dimmer.lan:7000", "lamp": 1, "dest": "home.lamp"}'
        )

    def bus(self, spec: Lamp) -> Path:
        """The box, which only one agent drives."""
        host, _, port = spec.box.rpartition(":")
        return network_bus(host, int(port))

    async def run(self, path: Path, spec: Lamp, link: Link) -> None:
        """Serve one lamp. Raises Failed when the box is gone."""
        async with open_box(spec.box) as box, anyio.create_task_group() as tasks:
            link.up()
            if spec.output is not None:
                tasks.start_soon(drive, link, spec.output, partial(box.set, spec.number))
            feed = Feed(link, spec.input) if spec.input is not None else None
            while True:
                level = await box.level(spec.number)
                if feed is not None:
                    await feed.take(level)
                await anyio.sleep(spec.interval_s)
