"""The attributes that bindings of all agents understand. Pure.

``dest`` is where a value of the device goes, ``src`` where commands for it come from, ``state`` where the device's
answer to a command (its read-back) goes. Like all attributes they are inherited; a path given further up is a base,
below which stands what the binding's own path has in addition::

    agent.gpio.house              {"chip": "gpiochip0"}
    agent.gpio.house.relays       {"src": "home.relays", "state": "state.relays"}
    agent.gpio.house.relays.pump  {"line": 17, "fail_safe": false}     src is home.relays.pump

``schema/agent-binding.schema.json`` describes them all; schemas of agents refer to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from kvagents.framework.check import Checker
from kvagents.framework.commands import (
    DEFAULT_COMMAND_AGE_S,
    DEFAULT_FAIL_SAFE_AFTER_S,
    NOTHING,
    OutputRules,
)
from kvagents.framework.config import Config, Plan, Problem
from kvagents.framework.convert import AttributeProblem, Converter, read_converter
from kvagents.framework.filter import Filter
from kvnode.core.path import Path, PathError

Spec = TypeVar("Spec")

DEFAULT_FILTER: Final = Filter()
STALE_HEARTBEATS: Final = 2.2
"""A value is stale after this many heartbeats: two were missed."""


@dataclass(frozen=True, slots=True)
class Input:
    """From a device to `dest`, as configured at `path`. A value older than `stale_after_s` is not to be trusted."""

    path: Path
    dest: Path
    converter: Converter
    filter: Filter
    stale_after_s: float


@dataclass(frozen=True, slots=True)
class Output:
    """From `src` to a device, as configured at `path`; what the device says to it goes to `state`."""

    path: Path
    src: Path
    state: Path | None
    converter: Converter
    rules: OutputRules


def read_input(config: Config, path: Path) -> Input | None:
    """The input that the attributes in effect at `path` describe; None without a ``dest``.

    Raises :class:`AttributeProblem`.
    """
    dest = read_path(config, path, "dest")
    if dest is None:
        return None
    attributes = config.inherited(path)
    filter = read_filter(attributes)
    converter = read_converter(attributes, both_ways="src" in attributes)
    return Input(path, dest, converter, filter, stale_after(attributes, filter))


def read_output(config: Config, path: Path) -> Output | None:
    """The output that the attributes in effect at `path` describe; None without a ``src``.

    Raises :class:`AttributeProblem`.
    """
    src, state = read_path(config, path, "src"), read_path(config, path, "state")
    if src is None:
        return None
    if src in (state, read_path(config, path, "dest")):
        raise AttributeProblem("src", f"{src} is also written by this binding: it would answer its own commands")
    attributes = config.inherited(path)
    return Output(path, src, state, read_converter(attributes, both_ways=True), read_rules(attributes))


def read_filter(attributes: dict[str, Any]) -> Filter:
    """The filter for readings."""
    delta, heartbeat_s = attributes.get("delta", DEFAULT_FILTER.delta), attributes.get("heartbeat")
    return Filter(delta, DEFAULT_FILTER.heartbeat_s if heartbeat_s is None else heartbeat_s)


def stale_after(attributes: dict[str, Any], filter: Filter) -> float:
    """How old a value may become: as configured, else two missed heartbeats and a little."""
    given = attributes.get("stale_after")
    return filter.heartbeat_s * STALE_HEARTBEATS if given is None else float(given)


def read_rules(attributes: dict[str, Any]) -> OutputRules:
    """What holds for commands."""
    age_s = attributes.get("command_age", DEFAULT_COMMAND_AGE_S)
    return OutputRules(
        command_age_s=math.inf if age_s is None else age_s,
        fail_safe=attributes.get("fail_safe", NOTHING),
        fail_safe_after_s=attributes.get("fail_safe_after", DEFAULT_FAIL_SAFE_AFTER_S),
        restore=attributes.get("restore", False),
    )


def read_path(config: Config, path: Path, key: str) -> Path | None:
    """The path that the attribute `key` gives for the binding at `path`. Raises :class:`AttributeProblem`."""
    giver = config.above(path, key)
    if giver is None:
        return None
    try:
        base = as_path(config.own(giver)[key])
    except PathError as error:
        raise AttributeProblem(key, str(error)) from None
    return base / path[len(giver) :]


def as_path(value: Any) -> Path:
    """A path, or the text of one. Raises PathError."""
    return value if isinstance(value, Path) else Path.parse(value)


def plan_bindings(
    config: Config, checker: Checker, read: Callable[[Config, Path], Spec | None], hint: str = ""
) -> Plan[Spec]:
    """A plan for agents whose every entry is a binding of its own, or only says what those below it inherit.

    `read` makes a specification of the attributes in effect at a path, None where they are none; what it raises as
    :class:`AttributeProblem` is told at the entry that gives the attribute. `hint` is told when nothing is configured.
    """
    if not list(config):
        return Plan({}, (Problem(config.root, f"nothing is configured; for example: {hint}", code="not_configured"),))
    problems = checker.problems(config)
    bad = {problem.path for problem in problems}
    bindings: dict[Path, Spec] = {}
    for path in config:
        if any(above in bad for above in config.chain(path)) or not config.inherited(path).get("enabled", True):
            continue
        try:
            spec = read(config, path)
        except AttributeProblem as error:
            problems.append(Problem(config.above(path, error.key) or path, str(error), error.key))
            continue
        if spec is not None:
            bindings[path] = spec
    return Plan(bindings, tuple(dict.fromkeys(problems)))
