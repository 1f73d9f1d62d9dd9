"""Progress is for people who look, at a terminal that can show it, when it takes a while."""

from __future__ import annotations

import io
import re

import pytest

from kvnode.cli.progress import SHOWN_AFTER_S, Progress


class Screen(io.TextIOWrapper):
    """A terminal, or what is none, with an encoding."""

    def __init__(self, encoding: str = "utf-8", *, terminal: bool = True) -> None:
        self.bytes = io.BytesIO()
        self._terminal = terminal
        super().__init__(self.bytes, encoding=encoding, write_through=True)

    def isatty(self) -> bool:
        return self._terminal

    @property
    def shown(self) -> str:
        return self.bytes.getvalue().decode(self.encoding)


class Clock:
    """Time that tests turn."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def work(screen: Screen, *, total: int | None = 1000, seconds: float = 10.0) -> str:
    """Ten steps of a work."""
    clock = Clock()
    with Progress(total, stream=screen, clock=clock) as progress:
        for step in range(10):
            clock.now += seconds / 10
            progress.show(f"{step} [red]steps[/]", step * 100)
    return screen.shown


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_long_work_is_shown_and_the_line_goes_away() -> None:
    shown = work(Screen())
    assert "7 [red]steps[/]" in shown
    assert "70%" in shown
    assert "\x1b[2K" in shown.rpartition("steps")[2], "the line is erased"
    assert "%" not in work(Screen(), total=None)


def test_short_work_and_what_nobody_sees_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert work(Screen(), seconds=SHOWN_AFTER_S) == ""
    assert work(Screen(terminal=False)) == ""
    monkeypatch.setenv("TERM", "dumb")
    assert work(Screen()) == ""


def test_it_is_drawn_a_few_times_a_second_only() -> None:
    screen, clock = Screen(), Clock()
    with Progress(stream=screen, clock=clock) as progress:
        for step in range(100_000):
            clock.now += 0.00001
            progress.show(f"{step} steps")
    assert screen.shown.count("steps") < 10


def test_no_colours_and_no_letters_that_the_terminal_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.search("\x1b\\[[0-9;]*3[0-9;]*m", work(Screen())), "colours"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search("\x1b\\[[0-9;]*[34][0-9][0-9;]*m", work(Screen()))
    shown = work(Screen("ascii"))
    assert "70%" in shown
    assert "---" in shown
