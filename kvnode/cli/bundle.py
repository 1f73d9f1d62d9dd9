"""The support bundle: a gzipped tar of small texts that only its owner can read."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from kvnode.data.redact import Redactor

FILE_MODE: Final = 0o600

_ABOUT_THIS: Final = """\
What kv doctor found, and what it knows of the node and its machine. Secrets are replaced by ***, values of the tree
are not in here; names of nodes, paths in reports, and addresses are. Nothing was sent anywhere.
"""


def write_bundle(file: Path, answer: Mapping[str, Any]) -> None:
    """Write the bundle. What comes from the node has no secrets any more; what comes from here loses them here, so all
    goes through the same net once more. Raises OSError, FileExistsError if the file is there.
    """
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(fd, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, text in _members(answer):
            data = text.encode("utf-8", "replace")
            info = tarfile.TarInfo(f"{file.name.removesuffix('.tar.gz')}/{name}")
            info.size, info.mode, info.mtime = len(data), FILE_MODE, int(time.time())
            tar.addfile(info, io.BytesIO(data))


def _members(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The files of a bundle: a text as it is, lines of the log one by one, all else as JSON."""
    yield "README", _ABOUT_THIS
    for name, content in Redactor().data(answer).items():
        if name == "log":
            yield "log.jsonl", "".join(f"{json.dumps(line)}\n" for line in content)
        elif isinstance(content, str):
            yield f"{name}.txt", content
        else:
            yield f"{name}.json", f"{json.dumps(content, indent=2)}\n"
