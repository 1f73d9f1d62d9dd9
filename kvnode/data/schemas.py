"""The JSON Schemas of this project, found in a checkout and in an installed package alike."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

_PLACES: Final = (Path(__file__).parents[1] / "schema", Path(__file__).parents[2] / "schema")
"""In an installed package, in a checkout."""


@cache
def read_schema(name: str) -> dict[str, Any]:
    """The schema `name`, for example ``"node"``. Treat it as read-only. Raises FileNotFoundError."""
    file = f"{name}.schema.json"
    folder = next((place for place in _PLACES if (place / file).is_file()), _PLACES[-1])
    schema: dict[str, Any] = json.loads((folder / file).read_text(encoding="utf-8"))
    return schema
