"""``python -m kvnode.testing.torture``: real nodes on a real network, cut, stopped and killed under load, and judged.

A seed decides the load and the plan of faults, but not what happens: real processes and real networks differ each time.
With violations the folder is kept; it holds the history, the nodes' logs, stores and dumps.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import anyio

from kvnode.testing.processes import ProcessError

from .namespaces import why_not
from .network import NetworkError
from .networks import KINDS
from .run import Config, torture


def main(argv: list[str] | None = None) -> int:
    """The command: 0 if all laws held, 1 if not, 2 if it could not be run."""
    args = _parser().parse_args(argv)
    config = Config(
        seed=args.seed,
        nodes=args.nodes,
        kills=args.kills,
        seconds=args.minutes * 60,
        clients_per_node=args.clients,
        network=args.network,
    )
    if args.network == "auto" and why_not() is not None:
        _say(f"no namespaces: {why_not()}")
    folder = Path(tempfile.mkdtemp(prefix="kv-torture-")) if args.folder is None else args.folder
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        _say(f"{folder} is not empty: the stores of another run would be taken for this one's; give a new folder")
        return 2
    options = {"use_uvloop": importlib.util.find_spec("uvloop") is not None}
    began = time.monotonic()

    def say(text: str) -> None:
        _say(f"{time.monotonic() - began:6.1f} s  {text}")

    failures: list[BaseException] = []
    try:
        report = anyio.run(torture, config, folder, say, backend_options=options)
    except* (NetworkError, ProcessError) as group:  # from some depth of task groups
        failures += _leaves(group)
    if failures:
        _say(f"{failures[0]}\nsee {folder}")
        return 2
    for line in report.lines():
        _say(line)
    if report.violations:
        _say(f"kept: {folder}")
    elif args.folder is None:
        shutil.rmtree(folder)
    return 1 if report.violations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kvnode.testing.torture",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000), help="default: any")
    parser.add_argument("--nodes", type=int, default=5, help="how many (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=50, help="how many in all (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=5.0, help="of load and faults (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=2, help="for each node (default: %(default)s)")
    parser.add_argument("--network", choices=KINDS, default="auto", help="what links are made of (default: auto)")
    parser.add_argument("--folder", type=Path, help="work here, and keep everything")
    return parser


def _leaves(err: BaseException) -> list[BaseException]:
    """The errors in groups of groups."""
    if isinstance(err, BaseExceptionGroup):
        return [leaf for inner in err.exceptions for leaf in _leaves(inner)]
    return [err]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
