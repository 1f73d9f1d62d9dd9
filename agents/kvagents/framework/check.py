"""Attributes against a JSON Schema: each complaint is one line that names path and key.

The schema says in ``x-expected`` what a key expects, in words. It may refer to keys that all agents share::

    "properties": {"dest": {"$ref": "agent-binding.schema.json#/properties/dest"}, ...}
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from kvagents.framework.config import Config, Problem
from kvnode.core.path import Path
from kvnode.data.schemas import read_schema


class Checker:
    """Checks entries of a configuration against a schema: one of ours by its name (``agent-onewire``), or as it is."""

    def __init__(self, schema: str | Mapping[str, Any]) -> None:
        # Importing jsonschema takes a tenth of a second, which programs that only list agents need not spend.
        from jsonschema import Draft202012Validator

        self._schema = resolved(read_schema(schema) if isinstance(schema, str) else schema)
        self._validator = Draft202012Validator(self._schema)

    def problems(self, config: Config) -> list[Problem]:
        """What is wrong in any entry, in path order."""
        return [problem for path in config for problem in self.entry(path, config.value(path))]

    def entry(self, path: Path, value: Any) -> Iterable[Problem]:
        """What is wrong in one entry."""
        if not isinstance(value, dict):
            yield Problem(path, f"expected a map of attributes, not {_shown(value)}")
            return
        properties: dict[str, Any] = self._schema["properties"]
        for key in value:
            if key not in properties:
                yield Problem(path, f"unknown key; known are {', '.join(sorted(properties))}", str(key))
        plain = {key: _plain(item) for key, item in value.items() if key in properties}
        wrong = {error.absolute_path[0] for error in self._validator.iter_errors(plain) if error.absolute_path}
        # JSON has no such numbers, so its schemas let them through.
        wrong |= {key for key, item in plain.items() if isinstance(item, float) and not math.isfinite(item)}
        for key in sorted(wrong):
            expected = properties[key].get("x-expected", "something else")
            yield Problem(path, f"expected {expected}, not {_shown(value[key])}", str(key))


def resolved(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with its keys that refer to ``NAME.schema.json#/properties/KEY`` of this project filled in."""
    return {**schema, "properties": {key: _followed(found) for key, found in schema["properties"].items()}}


def _followed(found: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in found:
        return found
    name, _, pointer = found["$ref"].partition(".schema.json#/properties/")
    # What stands beside a reference in a schema goes before what it refers to.
    return {**read_schema(name)["properties"][pointer], **{k: v for k, v in found.items() if k != "$ref"}}


def _plain(value: Any) -> Any:
    """Paths may stand wherever their text may."""
    return str(value) if isinstance(value, Path) else value


def _shown(value: Any) -> str:
    text = repr(str(value)) if isinstance(value, (str, Path)) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
