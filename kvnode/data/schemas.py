"""The JSON Schemas of this project, found in a checkout and in an installed package alike."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any


@cache
def read_schema(name: str) -> dict[str, Any]:
    """The schema `name`, for example ``"node"``. Treat it as read-only. Raises FileNotFoundError."""
    packaged = files("kvnode") / "schema" / f"{name}.schema.json"
    checkout = Path(__file__).parents[2] / "schema" / f"{name}.schema.json"
    source = packaged if packaged.is_file() else checkout
    schema: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    return schema
