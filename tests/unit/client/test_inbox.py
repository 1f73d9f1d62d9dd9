"""Items that wait: order, replacement, and that what a message cost is given back exactly once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvnode.client.inbox import Inbox, NewestInbox

messages = st.lists(
    st.tuples(st.lists(st.tuples(st.sampled_from("abc"), st.integers()), max_size=4), st.integers(0, 9))
)


def test_items_come_in_order_and_pay_with_the_last_of_their_message() -> None:
    paid: list[int] = []
    inbox: Inbox[int] = Inbox(paid.append)
    inbox.put([1, 2], 5)
    inbox.put([3], 7)
    assert (inbox.held, len(inbox)) == (12, 3)
    assert [inbox.take(), paid, inbox.take(), paid, inbox.held] == [1, [5], 2, [5], 7]
    assert inbox.take() == 3
    assert (paid, inbox.held, len(inbox)) == ([5, 7], 0, 0)


def test_a_message_without_items_pays_at_once() -> None:
    paid: list[int] = []
    Inbox[int](paid.append).put([], 3)
    Inbox[int](paid.append).put([], 0)
    assert paid == [3]


@given(messages, st.lists(st.booleans(), max_size=40))
def test_each_message_pays_when_its_last_item_is_read(
    sent: list[tuple[list[tuple[str, int]], int]], reads: list[bool]
) -> None:
    paid: list[int] = []
    inbox: Inbox[tuple[str, int]] = Inbox(paid.append)
    seen: list[tuple[str, int]] = []
    todo = list(sent)
    while todo or len(inbox):
        if len(inbox) and (not todo or (reads and reads.pop())):
            seen.append(inbox.take())
        elif todo:
            inbox.put(*todo.pop(0))
        taken = sent[: len(sent) - len(todo)]
        assert sum(paid) + inbox.held == sum(cost for _, cost in taken)
        assert len(seen) + len(inbox) == sum(len(items) for items, _ in taken)
    assert seen == [item for items, _ in sent for item in items]
    assert inbox.held == 0


@given(messages, st.integers(0, 20))
def test_with_a_key_the_newest_of_each_waits(sent: list[tuple[list[tuple[str, int]], int]], read_early: int) -> None:
    paid: list[int] = []
    inbox: NewestInbox[tuple[str, int]] = NewestInbox(paid.append, lambda item: None if item[0] == "c" else item[0])
    seen: list[tuple[str, int]] = []
    for items, cost in sent:
        inbox.put(items, cost)
        if len(inbox) > 2 and read_early:
            read_early -= 1
            seen.append(inbox.take())
        keys = [waiting.item[0] for waiting in inbox._waiting]
        assert max(keys.count("a"), keys.count("b")) <= 1
    while len(inbox):
        seen.append(inbox.take())
    assert inbox.held == 0
    assert sum(paid) == sum(cost for _, cost in sent)
    everything = [item for items, _ in sent for item in items]
    assert [item for item in seen if item[0] == "c"] == [item for item in everything if item[0] == "c"]
    for key in "ab":
        assert [i for i in seen if i[0] == key][-1:] == [i for i in everything if i[0] == key][-1:]
