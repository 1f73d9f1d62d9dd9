"""The systems, by name. A module of another system's client is imported when that system is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from bench.cluster import Cluster
from bench.server import Missing
from bench.systems.kv import Access, Kv

__all__ = ["SYSTEMS", "Access", "Kv", "system"]

SYSTEMS: Final = {
    "kvnode": "kv:KvDisk",
    "kvnode-memory": "kv:KvMemory",
    "redis-everysec": "redis:RedisEverysec",
    "redis-always": "redis:RedisAlways",
    "nats": "nats:Nats",
    "etcd": "etcd:Etcd",
    "mosquitto": "mosquitto:Mosquitto",
}


def system(name: str) -> type[Cluster]:
    """Raises Missing if its server or its client is not installed."""
    module, _, attribute = SYSTEMS[name].partition(":")
    try:
        found: type[Cluster] = getattr(import_module(f"bench.systems.{module}"), attribute)
    except ModuleNotFoundError as exc:
        raise Missing(f"the Python package {exc.name} is missing: pip install 'kvnode[bench]'") from None
    if found.debian is not None:
        found.program()
    return found
