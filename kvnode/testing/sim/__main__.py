"""``python -m kvnode.testing.sim``: run seeds, replay one, shrink a failing one, or play a scenario file."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path as FilePath

from kvnode.core.marks import ALL

from .plan import Config, generate
from .run import Report, run, run_plan
from .scenario import play
from .shrink import as_text, shrink
from .steps import KINDS


def main(argv: list[str] | None = None) -> int:
    """The command; 0 if all laws held."""
    args = _parser().parse_args(argv)
    if args.scenario:
        return _scenarios(args.scenario)
    config = _config(args)
    if args.seed is not None:
        return _one(args.seed, config, args)
    first, last = (int(part) for part in args.seeds.split(".."))
    if args.hashes:
        for seed in range(first, last + 1):
            _say(f"{seed} {run(seed, config).trace_hash}")
        return 0
    return _many(range(first, last + 1), config, args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kvnode.testing.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this seed")
    parser.add_argument("--seeds", default="1..100", metavar="A..B", help="run all of these (default: %(default)s)")
    parser.add_argument("--nodes", metavar="A..B", help="how many nodes (default: 2..6)")
    parser.add_argument("--operations", metavar="A..B", help="how many client operations (default: 15..90)")
    parser.add_argument("--faults", metavar="A..B", help="how many faults (default: 0..10)")
    parser.add_argument("--only", metavar="KIND,KIND", help="only these kinds of faults")
    parser.add_argument("--no-codec", action="store_true", help="hand messages over as objects, not as bytes")
    parser.add_argument("--jobs", type=int, default=1, help="processes to use")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="stop starting new seeds after this time")
    parser.add_argument("--trace", action="store_true", help="print every event of the run")
    parser.add_argument("--hashes", action="store_true", help="only print each seed with the hash of its trace")
    parser.add_argument("--no-shrink", action="store_true", help="do not shrink the first failing seed")
    parser.add_argument("--scenario", nargs="+", metavar="FILE", help="play scenario files instead")
    return parser


def _config(args: argparse.Namespace) -> Config:
    default = Config()
    only = frozenset(args.only.split(",")) if args.only else None
    if only and (unknown := only - KINDS - {"recrash", "restore"}):
        raise SystemExit(f"unknown kinds of faults: {', '.join(sorted(unknown))}")
    return Config(
        nodes=_span(args.nodes, default.nodes),
        operations=_span(args.operations, default.operations),
        faults=_span(args.faults, default.faults),
        codec=not args.no_codec,
        only=only,
    )


def _span(text: str | None, default: tuple[int, int]) -> tuple[int, int]:
    if text is None:
        return default
    first, _, last = text.partition("..")
    return int(first), int(last or first)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _one(seed: int, config: Config, args: argparse.Namespace) -> int:
    report = run_plan(generate(seed, config), keep_trace=args.trace)
    for line in report.trace:
        _say(line)
    _say(as_text(report.plan))
    _say(_line(report))
    if report.ok:
        return 0
    _failed(report, args)
    return 1


def _many(seeds: range, config: Config, args: argparse.Namespace) -> int:
    started = time.monotonic()
    failed: list[Report] = []
    marks: set[str] = set()
    done = events = virtual_ms = 0
    with _mapper(args.jobs) as mapper:
        for report in mapper(partial(run, config=config), seeds):
            done += 1
            events += report.events
            virtual_ms += report.virtual_ms
            marks |= report.marks
            if not report.ok:
                failed.append(report)
                _say(_line(report))
            if args.budget and time.monotonic() - started > args.budget:
                break
    spent = time.monotonic() - started
    _say(
        f"{done} seeds, {len(failed)} failed; {events} events, "
        f"{virtual_ms / 3_600_000:.1f} simulated hours "
        f"in {spent:.0f} s ({done / spent * 3600:.0f} seeds an hour)"
    )
    _say(f"marks not hit: {', '.join(sorted(ALL - marks)) or 'none'}")
    if failed:
        _failed(min(failed, key=lambda r: len(r.plan.steps)), args)
    return 1 if failed else 0


Mapper = Callable[[partial[Report], Iterable[int]], Iterator[Report]]


@contextmanager
def _mapper(jobs: int) -> Iterator[Mapper]:
    if jobs <= 1:
        yield map
        return
    with ProcessPoolExecutor(jobs) as pool:

        def chunks(call: partial[Report], seeds: Iterable[int]) -> Iterator[Report]:
            return pool.map(call, seeds, chunksize=4)

        yield chunks
        pool.shutdown(cancel_futures=True)


def _failed(report: Report, args: argparse.Namespace) -> None:
    """Print what broke, how to replay it, and a shrunk schedule."""
    for broken in report.broken:
        _say(f"  {broken}")
    _say(f"replay: {report.replay}{_options(args)}")
    if not args.no_shrink:
        small = shrink(report)
        _say(f"shrunk to {len(small.plan.steps)} steps:\n{as_text(small.plan)}")
        for broken in small.broken:
            _say(f"  {broken}")


def _options(args: argparse.Namespace) -> str:
    given = (
        f" --{name} {value}" for name in ("nodes", "operations", "faults", "only") if (value := getattr(args, name))
    )
    return "".join(given) + (" --no-codec" if args.no_codec else "")


def _line(report: Report) -> str:
    verdict = "ok" if report.ok else "BROKEN " + ",".join(sorted({b.law for b in report.broken}))
    return (
        f"seed {report.plan.seed}: {verdict}; {len(report.plan.hosts)} nodes, {len(report.plan.steps)} steps, "
        f"{report.writes} writes, {report.events} events, {report.virtual_ms} ms, trace {report.trace_hash}"
    )


def _scenarios(files: list[str]) -> int:
    bad = 0
    for name in files:
        result = play(FilePath(name).read_text(encoding="utf-8"))
        _say(f"{name}: {result or 'ok'}")
        bad += bool(result)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
