"""``python -m kvnode.testing.soak --hours 8``: nodes under steady load with churn; does anything grow?

Measures the memory, descriptors and threads of each node, its store, its tombstones and the latency of calls, window by
window; writes them to a CSV file, and says of each whether it was flat. What a soak can find is growth above the named
bounds (kvnode/testing/soak/verdicts.py) within its time: the longer, the finer.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
import time
from pathlib import Path

import anyio

from kvnode.client import KvError
from kvnode.testing.processes import ProcessError

from .run import Plan, soak, write_csv

LEAST_NODES = 2


def main(argv: list[str] | None = None) -> int:
    """The command: 0 if all was flat, 1 if something grew, 2 if it could not be run."""
    args = _parser().parse_args(argv)
    plan = Plan(load_s=args.hours * 3600 + args.minutes * 60, nodes=args.nodes, rate=args.rate)
    if plan.load_s <= 0 or plan.nodes < LEAST_NODES or plan.rate <= 0:
        _say("soak: say how long, with --minutes or --hours; it takes two nodes, and a rate above 0")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="kv-soak-"))
    options = {"use_uvloop": importlib.util.find_spec("uvloop") is not None}
    began = time.monotonic()

    def say(text: str) -> None:
        _say(f"{time.monotonic() - began:7.1f} s  {text}")

    try:
        report = anyio.run(soak, plan, folder, say, backend_options=options)
    except Exception as err:
        cause = _cause(err)
        if not isinstance(cause, (KvError, ProcessError, OSError)):
            raise
        _say(f"soak: {cause}; see {folder}")
        return 2
    write_csv(report.rows, args.csv)
    for line in report.lines():
        _say(line)
    _say(f"{'flat' if report.is_flat else 'NOT FLAT'}; measurements in {args.csv}")
    if report.is_flat:
        shutil.rmtree(folder)
    else:
        _say(f"kept: {folder}")
    return 0 if report.is_flat else 1


def _cause(err: Exception) -> Exception:
    """What a group of errors is about."""
    while isinstance(err, ExceptionGroup):
        err = err.exceptions[0]
    return err


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kvnode.testing.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--hours", type=float, default=0.0, help="of load and churn")
    parser.add_argument("--minutes", type=float, default=0.0, help="the same, added")
    parser.add_argument("--nodes", type=int, default=3, help="how many; the last is restarted (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=60.0, help="calls a second, in all (default: %(default)s)")
    parser.add_argument("--csv", type=Path, default=Path("soak.csv"), help="where to write them (default: %(default)s)")
    return parser


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
