"""Who hears of changes and events in the very turn in which they happen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

E = TypeVar("E")


class Listeners(Generic[E]):
    """Callbacks, which must not raise or wait."""

    def __init__(self) -> None:
        self._callbacks: tuple[Callable[[E], None], ...] = ()

    def add(self, callback: Callable[[E], None]) -> Callable[[], None]:
        """Call this from now on; calling what is given back ends it."""
        self._callbacks = (*self._callbacks, callback)

        def remove() -> None:
            self._callbacks = tuple(c for c in self._callbacks if c is not callback)

        return remove

    def tell(self, event: E) -> None:
        """Call all of them."""
        for callback in self._callbacks:
            callback(event)
