"""What processes use, and how it is told.

Wall time depends on what else the machine does, so it is given only beside the CPU time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

WAIT_S: Final = 900.0
"""What a million keys may take on a busy machine."""
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def memory_bytes(pid: int) -> int:
    """The resident set of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def us(seconds: float, count: int) -> float:
    """Microseconds for each."""
    return round(seconds / count * 1e6, 2)
