"""Keeps a claim in the tree: reads, writes and renews it, and tells who drives. What to do is decided in ``claim``."""

from __future__ import annotations

import logging
import math
import os
import platform
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path as FilePath
from typing import Final

import anyio

from kvagents.framework.claim import WRITE_TIMEOUT_S, Claim, Claimant, Terms
from kvagents.framework.kv import Kv
from kvnode.client import ABSENT, CasFailed, Expect, KvError, NotFound
from kvnode.core.path import Path

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0
"""While the node is away, it is asked again this often."""
CONTENDED_S: Final = 0.1
"""The shortest pause between two looks, so that no quarrel about a claim loads the node."""
_BOOT_ID: Final = FilePath("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Process:
    """Where a session runs, so that another one on the same machine can tell that it is dead."""

    host: str
    pid: int

    @classmethod
    def own(cls) -> Process:
        """This process. Its host is named together with the boot, for process numbers begin anew with each."""
        boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
        return cls(f"{platform.node()}/{boot}", os.getpid())

    def knows_dead(self, claim: Claim) -> bool:
        """Whether the process behind a claim is surely gone: one of this machine that no longer runs, or an earlier
        one that had our number.
        """
        if claim.host != self.host or not claim.pid:
            return False
        return claim.session not in _RUNNING if claim.pid == self.pid else not _runs(claim.pid)


_RUNNING: Final[set[str]] = set()
"""The sessions that run in this process: several agents may."""


@contextmanager
def running(session: str) -> Iterator[None]:
    """Meanwhile nobody in this process takes the session for a dead one."""
    _RUNNING.add(session)
    try:
        yield
    finally:
        _RUNNING.discard(session)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Keeper:
    """Keeps the claim at `path` for `holder`. :meth:`run` runs as long as it is wanted.

    What one process claims, it claims in the same `session`. `is_dead` tells of sessions besides what `process` knows.
    """

    def __init__(
        self,
        kv: Kv,
        path: Path,
        holder: str,
        terms: Terms,
        *,
        wall: Callable[[], datetime],
        process: Process | None = None,
        session: str | None = None,
        is_dead: Callable[[str], bool] = lambda session: False,
    ) -> None:
        self._kv = kv
        self._path = path
        self._wall = wall
        self._terms = terms
        where = process or Process.own()
        self.session: Final = session or secrets.token_hex(8)
        mine = Claim(holder, self.session, 0, wall(), terms.lease_s, host=where.host, pid=where.pid)
        self._claimant = Claimant(mine, terms, lambda claim: where.knows_dead(claim) or is_dead(claim.session))
        self._expect: Expect = ABSENT
        self._changed = anyio.Event()
        self._turned = anyio.Event()
        self._drives = False

    @property
    def drives(self) -> bool:
        """Whether this session may drive now."""
        return self._drives and self._claimant.may_drive(anyio.current_time())

    @property
    def token(self) -> int:
        """The fencing token."""
        return self._claimant.token

    @property
    def holder(self) -> Claim | None:
        """The claim that counts, as far as is known."""
        return self._claimant.holder

    def outlived(self, session: str) -> bool:
        """Whether this session took the claim over from that one, which therefore is gone."""
        return self._drives and session == self._claimant.predecessor

    async def until(self, drives: bool) -> None:
        """Wait until this session drives, or no longer does."""
        while self._drives != drives:
            await self._turned.wait()

    async def while_it_drives(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do this until it is done, or this session no longer drives."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_in_time, tasks.cancel_scope)
            await work()
            tasks.cancel_scope.cancel()

    async def _cancel_in_time(self, scope: anyio.CancelScope) -> None:
        await self.until(drives=False)
        scope.cancel()

    async def run(self) -> None:
        """Claim, renew, stand by, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch)
            while True:
                self._changed = anyio.Event()
                wait_s = await self._step_in_time()
                with anyio.move_on_after(wait_s):
                    await self._changed.wait()

    async def release(self, kv: Kv) -> None:
        """Give the claim up, after :meth:`run`. Raises KvError."""
        claim = self._claimant.released(self._wall())
        if claim is not None:
            with suppress(CasFailed):  # somebody else has it, and welcome
                await kv.set(self._path, claim.value(), timeout=WRITE_TIMEOUT_S, expect=self._expect)

    async def _watch(self) -> None:
        """Wake up whenever the claim changes."""
        while True:
            with suppress(KvError):
                async with self._kv.watch(self._path) as items:
                    async for _ in items:
                        self._changed.set()
            await anyio.sleep(RETRY_S)

    async def _step_in_time(self) -> float:
        """A step that a silent node does not hold up beyond the time at which driving ends; then the time to wait."""
        now = anyio.current_time()
        ends = self._claimant.drives_until() if self._drives else math.inf
        wait_s = RETRY_S
        with anyio.move_on_after(max(min(ends - now, WRITE_TIMEOUT_S), 0.0)):
            wait_s = await self._step()
        self._tell()
        return max(min(wait_s, (ends if self._drives else math.inf) - anyio.current_time()), 0.0)

    async def _step(self) -> float:
        """Look, write if need be, and say for how long there is nothing to do."""
        try:
            await self._look()
            await self._write()
        except CasFailed:
            return CONTENDED_S  # somebody was faster: look again
        except KvError as error:
            log.debug("cannot keep the claim: %s", error)
            return RETRY_S
        return max(self._claimant.next_look(anyio.current_time()) - anyio.current_time(), CONTENDED_S)

    async def _look(self) -> None:
        try:
            reading = await self._kv.get(self._path)
        except NotFound:
            self._expect = ABSENT
            self._claimant.read((), anyio.current_time())
            return
        self._expect = reading.dots
        claims = [Claim.from_value(sibling.value) for sibling in reading.siblings]
        self._claimant.read([claim for claim in claims if claim is not None], anyio.current_time())

    async def _write(self) -> None:
        began = anyio.current_time()
        claim = self._claimant.to_write(began, self._wall())
        if claim is not None:
            await self._kv.set(
                self._path, claim.value(), timeout=WRITE_TIMEOUT_S, expect=self._expect, ack=self._terms.ack
            )
            self._claimant.wrote(claim, began)
            await self._look()

    def _tell(self) -> None:
        drives = self._claimant.may_drive(anyio.current_time())
        if drives == self._drives:
            return
        self._drives = drives
        holder = self._claimant.holder
        if drives:
            log.info("driving", extra={"claim": str(self._path), "fencing": self.token})
        else:
            who = f"{holder.holder} {holder.session}" if holder else ""
            log.warning("no longer driving", extra={"claim": str(self._path), "holder": who})
        self._turned.set()
        self._turned = anyio.Event()
