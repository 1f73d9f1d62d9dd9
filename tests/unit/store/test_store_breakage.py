"""Every kind of damage, at many seeds: what is given was written, what is missing is told, a check says the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pytest

from kvnode.core.ticks import Ticks
from kvnode.store.base import NoStore, StoreTooNew
from kvnode.store.check import check
from kvnode.store.files import LOG_FILES
from kvnode.store.logged import LoggedStore
from kvnode.store.sqlite import FILE_NAME
from kvnode.testing.damage import ALL_DAMAGE, LOG_DAMAGE
from kvnode.testing.store_contract import INC, Held, persist, read_all
from tests.support.records import COUNT, entries, version

SEEDS = 8


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Held]]:
    """A store as a killed process leaves it, most in the file, some in each segment of the log; and what it held, over
    time.
    """
    running, left = tmp_path_factory.mktemp("running"), tmp_path_factory.mktemp("killed")
    store = LoggedStore(running)
    states = [read_all(store.load())]
    for tick in range(1, COUNT + 1, 30):
        batch = entries(*(version(n) for n in range(tick, tick + 30)))
        store.commit([persist(tick, batch, {INC: Ticks.upto(tick + 29)})])
        if tick == COUNT - 119:
            store.compact()
        if tick == COUNT - 59:
            assert store._log is not None
            store._log.turn()
        states.append(read_all(store.load()))
    for end in ("", *LOG_FILES):
        shutil.copy(f"{store.path}{end}", left / f"{FILE_NAME}{end}")
    store.close()
    return left, states


def held(directory: Path) -> Held | None:
    """What a process finds; None if it refuses."""
    store = LoggedStore(directory)
    try:
        return read_all(store.load())
    except StoreTooNew:
        return None
    finally:
        store.close()


def is_sound(directory: Path) -> bool | None:
    """What a check says; None if it refuses."""
    try:
        return check(str(directory / FILE_NAME)).is_sound
    except (NoStore, StoreTooNew):
        return None


@pytest.mark.parametrize("name", ALL_DAMAGE)
def test_what_is_given_was_written_and_what_is_missing_is_told(
    killed: tuple[Path, list[Held]], name: str, tmp_path: Path
) -> None:
    left, states = killed
    rows, known = states[-1].rows.items(), states[-1].known
    for seed in range(SEEDS):
        directory = tmp_path / str(seed)
        shutil.copytree(left, directory)
        did = ALL_DAMAGE[name](directory, Random(f"{name} {seed}"))
        says = is_sound(directory)
        found = held(directory)
        if found is None or says is None:
            assert name in ("flip_anywhere", "remove_file", "remove_all"), did
            continue
        assert says == (not found.doubts), did
        assert found.rows.items() <= rows, did
        if name in LOG_DAMAGE and not found.doubts:
            assert found in states, did
        elif not found.doubts:
            assert (found.rows, found.known) == (states[-1].rows, known), did
