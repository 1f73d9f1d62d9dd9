"""The fixtures of released versions, see tests/fixtures/releases/README.md."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RELEASES: Final = Path(__file__).parents[1] / "fixtures" / "releases"
VERSIONS: Final = sorted(folder.name for folder in RELEASES.iterdir() if folder.is_dir() and folder.name[0].isdigit())


@dataclass(frozen=True, slots=True)
class Frame:
    """One recorded frame: which connection (0: none), from whom, the message's name then, and its payload."""

    connection: int
    way: str
    name: str
    payload: bytes


def wheel_of(version: str) -> Path:
    (wheel,) = (RELEASES / version).glob("*.whl")
    return wheel


def unpacked(version: str, folder: Path) -> Path:
    """The release below `folder`, ready to be first on the path."""
    place = folder / f"kvnode-{version}"
    with zipfile.ZipFile(wheel_of(version)) as archive:
        archive.extractall(place)
    return place


def environment_of(place: Path) -> dict[str, str]:
    """For processes that shall run the unpacked release: not this tree, though it may be the working folder."""
    return {"PYTHONPATH": str(place), "PYTHONSAFEPATH": "1"}


def copied_store(version: str, folder: Path, name: str = "store") -> Path:
    """A copy of a recorded store's directory, for someone to write to."""
    place = folder / name
    shutil.copytree(RELEASES / version / name, place)
    return place


def frames(version: str, file: str) -> Iterator[Frame]:
    """The recorded frames of ``peer.frames`` or ``client.frames``."""
    connection = 0
    for line in (RELEASES / version / file).read_text(encoding="utf-8").splitlines():
        if line.startswith("# connection "):
            connection = int(line.split()[-1])
        elif line.startswith("# not recorded"):
            connection = 0
        elif line and not line.startswith("#"):
            way, name, data = line.split()
            yield Frame(connection, way, name, bytes.fromhex(data))
