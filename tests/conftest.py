"""What all tests share: the async backends, the profiles of hypothesis, what is not for a compiled kvnode."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from kvnode.data.versions import is_compiled, software
from tests.support.logs import logging_restored

# `ci` is the default and repeatable; `long` looks for what is new: HYPOTHESIS_PROFILE=long make test
settings.register_profile(
    "ci", max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("long", max_examples=3_000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

BACKENDS = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="asyncio+uvloop"),
    pytest.param(("trio", {}), id="trio"),
]


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Every test that is marked `anyio` runs on each of these."""
    return request.param


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A node or agent that ran in this process has set up its log; the next test shall not know."""
    with logging_restored():
        yield


def pytest_report_header() -> str:
    """Which kvnode is tested."""
    return f"kvnode {software()}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Against compiled modules those without the marker `interpreted` run; the others are counted as deselected."""
    if not is_compiled():
        return
    left_out = [item for item in items if item.get_closest_marker("interpreted")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
