"""Every benchmark can at least be imported: most of them run too long for CI."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import pytest

import bench

OTHERS = ("bench.systems.etcd", "bench.systems.mosquitto", "bench.systems.nats", "bench.systems.redis")
"""They need the clients of other systems."""
MODULES = [found.name for found in pkgutil.walk_packages(bench.__path__, "bench.") if found.name not in OTHERS]


@pytest.mark.parametrize("name", MODULES)
def test_it_can_be_imported(name: str) -> None:
    import_module(name)
