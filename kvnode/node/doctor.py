"""The doctor: all findings about a node, of its own process or, if it does not run, from outside; and the bundle."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

import anyio
import anyio.to_thread

from kvnode.data.redact import Redactor, is_secret_name, secret_keys
from kvnode.data.schemas import read_schema
from kvnode.data.versions import installed_version, is_compiled
from kvnode.store.base import StoreError
from kvnode.store.lock import FileLock
from kvnode.store.sqlite import FILE_NAME
from kvnode.transport.address import Address

from . import examining, findings
from .config import NodeConfig
from .driver import Driver
from .findings import ClockFacts, Finding
from .metrics import metrics_of, render
from .settings import Settings

Status = Mapping[str, Any]


class Doctor:
    """Examines a running node. `address` is where it really listens; `status` gives its status with the clients' part,
    `compare_clocks` asks the peers for their time, `log` gives the last lines of its log.
    """

    def __init__(
        self,
        config: NodeConfig,
        driver: Driver,
        address: Address,
        *,
        status: Callable[[], dict[str, Any]],
        compare_clocks: Callable[[], Any],
        log: Callable[[], list[str]] = list,
    ) -> None:
        self._config: Final = config
        self._driver: Final = driver
        self._address: Final = address
        self._status: Final = status
        self._compare_clocks: Final = compare_clocks
        self._log: Final = log

    async def examine(self, bundle: bool) -> dict[str, Any]:
        """The findings; with `bundle` also what belongs into a support bundle, without secrets."""
        await self._compare_clocks()
        status = self._status()
        deletes = examining.deletes_waiting(self._driver.replica)
        found = list(findings.of_status(status))
        found += findings.of_clock(self._clock(status), self._config.limits.max_skew_ms)
        found += await self._ports()
        if self._config.data_dir is not None:
            found += findings.of_disk(await anyio.to_thread.run_sync(examining.disk_facts, self._config.data_dir))
        found += findings.of_versions(status["software"], _versions(status))
        found += findings.of_deletes(deletes, status["tombstones"])
        cleaner = cleaner_of(self._config)
        answer: dict[str, Any] = {"findings": cleaner.data([asdict(finding) for finding in found])}
        if bundle:
            answer |= {
                "about": about(),
                "config": config_of(self._config),
                "status": cleaner.data(status),
                "metrics": cleaner.text(render(metrics_of(status))),
                "deletes": {"tombstones": status["tombstones"], "waiting_for": dict(deletes)},
                "log": [clean_line(line, cleaner) for line in self._log()],
            }
        return answer

    def _clock(self, status: Status) -> ClockFacts:
        skews = {row["name"]: row["skew_ms"] for row in status["peers"] if row["skew_ms"] is not None}
        return ClockFacts(self._driver.now().wall, examining.clock_is_synchronised(), skews)

    async def _ports(self) -> list[Finding]:
        config, address = self._config, self._address
        why = await examining.probe(examining.reachable_form(address))
        listening = findings.of_listening(
            str(address), loopback=address.is_loopback, insecure=config.insecure, reachable=why
        )
        return list(listening)


def _versions(status: Status) -> dict[str, str | None]:
    return {row["name"]: row["software"] for row in status["peers"] if row["state"] == "linked"}


# -- a node that does not run ----------------------------------------------------------------------------------------


async def examine_stopped(config: NodeConfig) -> list[Finding]:
    """What can be said of a node that does not run, from its configuration: data folder, lock, port, clock, peers."""
    found = list(findings.of_clock(ClockFacts(time.time_ns() // 1_000_000, examining.clock_is_synchronised(), {}), 0))
    if config.data_dir is not None:
        found += await anyio.to_thread.run_sync(_data_findings, config)
    if (why := await examining.bindable(config.listen_address)) is not None:
        what = f"nothing can listen on {config.listen}: {why}"
        found.append(
            Finding("error", "ports", what, "stop the program that has this port, or give the node another one")
        )
    found += findings.of_listening(
        config.listen, loopback=config.listen_address.is_loopback, insecure=config.insecure, reachable=None
    )
    whys: dict[str, str | None] = {}

    async def try_peer(address: Address) -> None:
        whys[str(address)] = await examining.probe(address)

    async with anyio.create_task_group() as tasks:
        for address in config.peer_addresses:
            tasks.start_soon(try_peer, address)
    rows = [
        {"name": "", "address": at, "state": "waiting", "lag": None, "error": why} for at, why in whys.items() if why
    ]
    return [*found, *findings.of_peers(rows)]


def _data_findings(config: NodeConfig) -> list[Finding]:
    """The folder, its disk, and whether another process has the store. Blocks."""
    folder = config.data_dir
    assert folder is not None
    if not folder.exists():
        what = f"{folder}: there is no such folder yet"
        return [Finding("warning", "disk", what, "nothing to do: the node makes it at its first start")]
    found = list(findings.of_disk(examining.disk_facts(folder)))
    store = folder / FILE_NAME
    if not found and store.with_name(f"{FILE_NAME}.lock").exists():  # else nobody has it, and it is not ours to make
        lock = FileLock(os.fspath(store))
        try:
            lock.acquire()
        except StoreError as err:
            found.append(Finding("error", "store", f"{err.path}: {err.what}", err.way_out))
        finally:
            lock.release()
    return found


# -- the bundle ------------------------------------------------------------------------------------------------------


def about() -> dict[str, Any]:
    """Versions and platform. Of the environment only the names of our own variables."""
    return {
        "kvnode": installed_version(),
        "compiled": is_compiled(),
        "python": sys.version,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "variables": sorted(name for name in os.environ if name.startswith(("KVNODE_", "KV_"))),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def cleaner_of(config: NodeConfig) -> Redactor:
    """What takes out the secrets of this configuration and of the environment, as far as names tell."""
    names = frozenset(secret_keys(read_schema("node")))
    values = [value for name, value in os.environ.items() if is_secret_name(name)]
    for key, value, _ in Settings(config, {}).rows():
        if key in names or is_secret_name(key):
            values += map(str, value) if isinstance(value, tuple) else [str(value)]
    return Redactor(names, values)


def config_of(config: NodeConfig) -> dict[str, Any]:
    """The settings by dotted key, without secrets."""
    cleaner = cleaner_of(config)
    return {key: cleaner.data(value, key) for key, value, _ in Settings(config, {}).rows()}


def clean_line(line: str, cleaner: Redactor) -> Any:
    """A line of the log, without secrets: parsed where it is JSON, so that fields are known by their names."""
    try:
        record = json.loads(line)
    except ValueError:
        return cleaner.text(line)
    return cleaner.data(record)
