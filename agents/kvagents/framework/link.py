"""What a running binding sees of the framework."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

from kvagents.framework.errors import Failed
from kvagents.framework.kv import Kv
from kvagents.framework.reporter import Reporter
from kvagents.framework.retry import RetryPolicy
from kvagents.framework.supervise import Run
from kvnode.client import AckTimeout, Closed, KvError, ProtocolError, Unavailable
from kvnode.core.path import Path
from kvnode.data.errors import Severity

log = logging.getLogger(__name__)

WRITE_TIMEOUT_S: Final = 5.0


class Link:
    """What a running binding works with: the tree, the clock, and a way to tell how it and its parts fare.

    `token` is the fencing token: what is driven may refuse commands that come with a lower one.
    """

    def __init__(
        self,
        kv: Kv,
        path: Path,
        run: Run,
        reporter: Reporter,
        *,
        wall: Callable[[], datetime],
        random: Callable[[], float],
        policy: RetryPolicy,
        drives: Callable[[], bool],
        token: int,
    ) -> None:
        self.kv = kv
        self.path = path
        self.wall = wall
        self.random = random
        self.policy = policy
        self.token = token
        self._run = run
        self._reporter = reporter
        self._drives = drives
        self._node_is_away = False

    @property
    def is_needed(self) -> bool:
        """Whether the binding is still configured like this, and this instance still drives.

        If so while the binding is cancelled, the agent itself ends.
        """
        return self._run.is_wanted() and self._drives()

    def begin(self, parts: Iterable[Path]) -> None:
        """Name the parts that the binding has, by the paths that configure them; the records of others go.

        Only the first attempt says so: what was found at run time keeps its record while the binding is retried.
        """
        if self._run.first:
            self._reporter.keep_only(self.path, parts)

    def up(self) -> None:
        """The binding is up; when it stays so for 5 s it counts as working."""
        self._run.up()

    def failed(self, path: Path, code: str, message: str, severity: Severity = Severity.ERROR) -> None:
        """A part of the binding, configured at `path`, failed; the binding as such goes on."""
        self._reporter.failed(path, code, message, severity)

    def works(self, path: Path) -> None:
        """That part works."""
        self._reporter.works(path)

    def feeds(self, dest: Path, config: Path, stale_after_s: float | None) -> None:
        """Say that the values at `dest` come from here, configured at `config`, and how old they may become."""
        self._reporter.feeds(dest, config, stale_after_s)

    def leave(self, path: Path, value: Any) -> None:
        """Write a value when the agent says goodbye: while a binding is cancelled, nothing else is written any more."""
        self._reporter.last_words[path] = value

    async def put(self, path: Path, value: Any) -> bool:
        """Write a value. False when it was not written because no node is there: measure and try again later.

        Raises :class:`Failed` when the node refuses it, which trying again will not change.
        """
        try:
            await self.kv.set(path, value, timeout=WRITE_TIMEOUT_S, idempotent=True)
        except AckTimeout:
            pass  # the write stands
        except (Unavailable, Closed, ProtocolError) as error:
            if not self._node_is_away:
                log.warning("values are not written: %s", error)
            self._node_is_away = True
            return False
        except KvError as error:
            raise Failed(error.code, f"the node refuses to write {path}: {error}") from None
        if self._node_is_away:
            log.info("values are written again")
        self._node_is_away = False
        return True
