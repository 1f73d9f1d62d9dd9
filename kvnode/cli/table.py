"""Tables and trees for people: by rich on a terminal, aligned text everywhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from .render import Output
from .text import printable

RICH_ROWS_MAX: Final = 500
"""Longer tables are printed as they come, so that a large tree needs no memory here."""

_COLUMN_MAX: Final = 60


class Table:
    """Rows under a heading. Rows are kept until there are too many for one screenful, then aligned and printed."""

    def __init__(self, out: Output, headings: Sequence[str]) -> None:
        self._out = out
        self._headings = tuple(headings)
        self._rows: list[tuple[str, ...]] = []
        self._widths = [len(h) for h in headings]
        self._started = False

    def add(self, *cells: str) -> None:
        """The next row; the cells may hold any text."""
        self._rows.append(tuple(printable(cell) for cell in cells))
        if len(self._rows) > RICH_ROWS_MAX:
            self._print_plain()

    def end(self) -> None:
        """Print what is left; nothing at all for a table without rows."""
        if self._out.terminal and not self._started and self._rows:
            self._print_rich()
        elif self._rows:
            self._print_plain()

    def _print_plain(self) -> None:
        for at in range(len(self._widths)):
            longest = max(len(row[at]) for row in self._rows)
            self._widths[at] = max(self._widths[at], min(longest, _COLUMN_MAX))
        if not self._started:
            self._started = True
            self._line(self._headings)
        for row in self._rows:
            self._line(row)
        self._rows.clear()

    def _line(self, cells: Sequence[str]) -> None:
        padded = (cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True))
        self._out.line("  ".join(padded).rstrip())

    def _print_rich(self) -> None:
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=None, pad_edge=False, header_style="bold")
        for heading in self._headings:
            table.add_column(heading, overflow="fold")
        for row in self._rows:
            table.add_row(*(Text(cell) for cell in row))
        Console(file=self._out.stream, highlight=False).print(table)
        self._rows.clear()


def print_rows(
    out: Output, headings: Sequence[str], rows: Iterable[tuple[Sequence[str], Any]], *, empty: str = ""
) -> None:
    """A table for people, a list of results for machines: each row has its cells and its data. People who would get
    nothing are told `empty`.
    """
    if not out.human:
        with out.items() as write:
            for _, data in rows:
                write(data)
        return
    table, count = Table(out, headings), 0
    for cells, _ in rows:
        table.add(*cells)
        count += 1
    table.end()
    if empty and not count:
        out.line(empty)


class Outline:
    """A tree of labels, built from paths that come in path order; each row is (elements, text behind the last)."""

    def __init__(self, out: Output, base: int = 0) -> None:
        self._out = out
        self._base = base
        self._last: tuple[str, ...] = ()
        self._rows: list[tuple[int, str]] = []
        self._rich = out.terminal

    def add(self, elements: Sequence[str], text: str) -> None:
        """The next path, as the printed forms of its elements below the base."""
        path = tuple(elements)
        shared = _shared(self._last, path)
        for depth in range(shared, len(path)):
            label = path[depth] if depth < len(path) - 1 else f"{path[depth]}{text}"
            self._row(depth, printable(label))
        if not path:
            self._row(0, printable(text.strip()))
        self._last = path

    def _row(self, depth: int, label: str) -> None:
        self._rows.append((depth, label))
        if not self._rich or len(self._rows) > RICH_ROWS_MAX:
            self._rich = False
            self._print_plain()

    def _print_plain(self) -> None:
        for depth, label in self._rows:
            self._out.line(f"{'  ' * depth}{label}")
        self._rows.clear()

    def end(self, title: str) -> None:
        """Print what is left; `title` heads the tree on a terminal."""
        if not self._rich:
            self._print_plain()
        elif self._rows:
            _print_rich_tree(self._out, title, self._rows)


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return min(count, max(len(other) - 1, 0))


def _print_rich_tree(out: Output, title: str, rows: Iterable[tuple[int, str]]) -> None:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    branches = [Tree(Text(title))]
    for depth, label in rows:
        del branches[depth + 1 :]
        branches.append(branches[depth].add(Text(label)))
    Console(file=out.stream, highlight=False).print(branches[0])
