"""Items of a stream that wait to be read, and what each message of them has cost. Pure.

A message costs credits, which go back to the node once all of its items have been read. With `key`, an item takes the
place of one with the same key that waits: so what waits is bounded by the number of keys, and readers who are slow
see the newest state of each instead of all that happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class _Message:
    """The items of one message that have not been read, and what it cost."""

    __slots__ = ("cost", "left")

    def __init__(self, left: int, cost: int) -> None:
        self.left = left
        self.cost = cost


class _Waiting(Generic[T]):
    __slots__ = ("item", "key", "message")

    def __init__(self, item: T, key: Hashable | None, message: _Message) -> None:
        self.item = item
        self.key = key
        self.message = message


class Inbox(Generic[T]):
    """See the module's text. `paid` gets the credits of each message whose items are all read or replaced; `key` gives
    None for items that are never replaced.
    """

    def __init__(self, paid: Callable[[int], None], key: Callable[[T], Hashable | None] | None = None) -> None:
        self._paid: Final = paid
        self._key: Final = key
        self._waiting: deque[_Waiting[T]] = deque()
        self._by_key: dict[Hashable, _Waiting[T]] = {}
        self.held = 0
        """Credits of the messages that are not all read."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, items: Sequence[T], cost: int) -> None:
        """Take in the items of one message."""
        self.held += cost
        message = _Message(len(items), cost)
        for item in items:
            self._add(item, message)
        if not items and cost:
            self._pay(message)

    def take(self) -> T:
        """The oldest item. Raises IndexError if there is none."""
        first = self._waiting.popleft()
        if first.key is not None:
            del self._by_key[first.key]
        self._done(first.message)
        return first.item

    def clear(self) -> None:
        """Forget all of it."""
        self._waiting.clear()
        self._by_key.clear()

    def _add(self, item: T, message: _Message) -> None:
        key = None if self._key is None else self._key(item)
        there = None if key is None else self._by_key.get(key)
        if there is not None:
            there.item, replaced = item, there.message
            there.message = message
            self._done(replaced)
            return
        waiting = _Waiting(item, key, message)
        self._waiting.append(waiting)
        if key is not None:
            self._by_key[key] = waiting

    def _done(self, message: _Message) -> None:
        message.left -= 1
        if not message.left:
            self._pay(message)

    def _pay(self, message: _Message) -> None:
        self.held -= message.cost
        self._paid(message.cost)
