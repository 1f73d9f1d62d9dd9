"""Events: unversioned, unstored messages on a path, flooded once to every node.

Relayed like a change, deduplicated by (session, number), in order per sender because every way is a chain of reliable
links; lost with a broken link. Live MQTT messages are events.
"""

from __future__ import annotations

from typing import Final

from . import marks
from .checks import refusal, unfit_value
from .digests import SendTo
from .effects import Change, Deliver, Now, Refused
from .link import Link
from .messages import Event
from .path import Path
from .state import State
from .ticks import MAX_TICK, check_name


class Events:
    """The events of one replica; `links` is shared with it."""

    def __init__(self, state: State, links: dict[int, Link], send: SendTo) -> None:
        self._state: Final = state
        self._links: Final = links
        self._send: Final = send
        self._seq = 0
        self.heard: dict[int, int] = {}
        """Per session of a sender the number of its last event."""

    def send(self, path: Path, value: bytes, author: str, principal: str | None, now: Now) -> Event | Refused:
        """Send an event from here."""
        refused = refusal(self._state, Change(path, value, author, principal=principal), now)
        if refused is not None:
            return refused
        self._seq += 1
        event = Event(self._state.name, self._state.session, self._seq, path, value, author, principal)
        self._state.note(Deliver(event))
        self._relay(event, None)
        return event

    def receive(self, link: Link, event: Event, now: Now) -> None:
        """An event from a peer: deliver it and hand it on, once. ValueError if it is malformed."""
        if not Path(event.path) or not 0 < event.seq <= MAX_TICK:
            raise ValueError("an event without path or number")
        check_name(event.name)
        if why := unfit_value(event.value):
            raise ValueError(why)
        if event.seq <= self.heard.get(event.session, 0) or event.session == self._state.session:
            marks.hit("event-duplicate")
            return
        self.heard.pop(event.session, None)
        self.heard[event.session] = event.seq
        if len(self.heard) > self._state.limits.event_sessions:
            del self.heard[next(iter(self.heard))]
        self._state.note(Deliver(event))
        self._relay(event, link)

    def _relay(self, event: Event, source: Link | None) -> None:
        for link in self._links.values():
            if link is source or not link.ready or not link.sees(event.path):
                continue
            origin = (event.name, event.session)
            if source is not None and (origin in link.links or origin == (link.name, link.session)):
                continue
            if link.window >= self._state.limits.window_bytes:
                marks.hit("event-dropped")  # the link does not drain, and nothing keeps events
                continue
            link.window += len(event.value) + 64
            self._send(link, event)
