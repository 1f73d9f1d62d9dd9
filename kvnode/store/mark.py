"""The mark in a store file that says how its log goes on from it."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

LOG_KEY: Final = b"!log"
"""Its row in the table `meta`. A copy of the file has none: it stands alone."""


class Mark(NamedTuple):
    """The file has all commits of the log `epoch` up to the one of number `applied`. `live`: later ones may be in the
    log, so its files must be there.
    """

    epoch: bytes
    applied: int
    live: bool

    def encode(self) -> bytes:
        """For storing."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Mark:
        """What :meth:`encode` gave; ValueError if it is something else."""
        return msgspec.msgpack.decode(data, type=cls)
