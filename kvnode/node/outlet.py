"""Carrying out what the replica decides: what is to be stored, sent, and told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kvnode.core.effects import Acked, Close, Deliver, Effect, LinkId, Notify, Now, Persist, Report, Send
from kvnode.core.messages import Event

from .listeners import Listeners
from .pending import Port
from .reports import Reports
from .writer import Writer


class Outlet:
    """Carries out effects, in order; nothing here waits. `ports` are the ways out of the links; `counters` are added
    to.
    """

    def __init__(self, store: Writer, reports: Reports, counters: dict[str, int]) -> None:
        self._store: Final = store
        self._reports: Final = reports
        self._counters: Final = counters
        self.ports: Final[dict[LinkId, Port]] = {}
        self.notified: Final[Listeners[Sequence[Notify]]] = Listeners()
        self.delivered: Final[Listeners[Event]] = Listeners()
        self.token = 0
        """That of the last transaction."""
        self.acknowledged = False
        """Whether something was acknowledged somewhere; whoever looks sets it back."""

    def carry_out(self, effects: Sequence[Effect], now: Now) -> None:
        """Ports only queue, so what they are given leaves together when all is done. What has changed is told last."""
        touched: dict[LinkId, Port] = {}
        changes: list[Notify] = []
        for effect in effects:
            match effect:
                case Notify():
                    changes.append(effect)
                case Send(link):
                    if self._send(effect):
                        touched[link] = self.ports[link]
                case Persist(token):
                    self.token = token
                    self._store.add(effect)
                case Acked():
                    self.acknowledged = True
                case Close(link, why, fatal):
                    port = self.ports.pop(link, None)
                    if port is not None:
                        port.close(why, fatal)
                case Deliver(event):
                    self._counters["events"] += 1
                    self.delivered.tell(event)
                case Report():
                    self._reports.take(effect, now)
        for port in touched.values():
            port.flush()
        if changes:
            self._counters["notified"] += len(changes)
            self.notified.tell(changes)

    def _send(self, effect: Send) -> bool:
        port = self.ports.get(effect.link)
        if port is None:
            return False
        port.send(effect.seq, effect.message)
        self._counters["sent"] += 1
        return True
