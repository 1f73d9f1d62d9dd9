"""Lengths of time on the command line: ``30``, ``30s``, ``500ms``, ``5min``, ``2h``, ``7d``."""

from __future__ import annotations

import re
from typing import Any, Final

import asyncclick as click

_UNITS_S: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_LENGTH: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]*)")


class DurationType(click.ParamType[float]):
    """A length of time above 0, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it; the error says how it is written."""
        if isinstance(value, float):
            return value
        found = _LENGTH.fullmatch(str(value))
        unit = None if found is None else _UNITS_S.get(found[2])
        if found is None or unit is None or float(found[1]) == 0:
            self.fail(f"{value!r} is no length of time; write 30s, 500ms, 5min, 2h or 7d", param, ctx)
        return float(found[1]) * unit


DURATION: Final = DurationType()
