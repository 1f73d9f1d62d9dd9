"""Prints, as JSON, what people and programs rely on of the kvnode that is first on the path: names, options, codes.

Run as a program, also with the code of an earlier release; so it uses only what every release has.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from typing import Any

import asyncclick as click

from kvnode import client
from kvnode.cli.errors import Exit
from kvnode.cli.main import root
from kvnode.data.schemas import read_schema


def options_of(command: click.Command, path: str, ctx: click.Context) -> Iterator[str]:
    """Each command, and each of its options and arguments."""
    yield path
    for parameter in command.params:
        yield from (f"{path} {name}" for name in parameter.opts)
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            assert found is not None
            yield from options_of(found, f"{path} {name}", ctx)


def settings_of(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """The keys of a JSON Schema, dotted."""
    for name, inner in schema.get("properties", {}).items():
        yield path + name
        yield from settings_of(inner, f"{path}{name}.")


def names_of_client() -> Iterator[str]:
    """What ``kvnode.client`` exports, and the methods of its classes with their parameters."""
    for name in client.__all__:
        thing = getattr(client, name)
        yield name
        if inspect.isclass(thing):
            for method, function in inspect.getmembers(thing, inspect.isfunction):
                if not method.startswith("_"):
                    yield from (f"{name}.{method}({given})" for given in inspect.signature(function).parameters)
        elif inspect.isfunction(thing):
            yield from (f"{name}({given})" for given in inspect.signature(thing).parameters)


def surface() -> dict[str, list[str]]:
    """All of it, by kind."""
    commands = root()
    return {
        "client": sorted(names_of_client()),
        "commands": sorted(options_of(commands, "kv", click.Context(commands))),
        "exit codes": sorted(f"{code.name} {code.value}" for code in Exit),
        "settings": sorted(settings_of(read_schema("node"))),
    }


if __name__ == "__main__":
    json.dump(surface(), sys.stdout)
