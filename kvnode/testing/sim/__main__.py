"""Simulate whole clusters: run seeds, replay one, shrink a failing one; or run plan and scenario files.

Examples:
  python -m kvnode.testing.sim --seeds 1..5000              all cores; tells what it covered
  python -m kvnode.testing.sim --seed 4711 --trace          one seed, with every event
  python -m kvnode.testing.sim --plan tests/sim/plans/*     plans that were kept as files
  python -m kvnode.testing.sim --scenario tests/sim/scenarios/*
  python -m kvnode.testing.sim --mutants                    plant bugs, and tell which law catches each
  python -m kvnode.testing.sim --churn 1000000              delete and write again: nothing may grow; some minutes
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path as FilePath

from .churn import churn
from .coverage import LONG, Coverage
from .faults import FAULTS
from .generate import Config, generate
from .mutants.catalogue import MUTANTS
from .mutants.table import hunt
from .plan import Plan, PlanError, parse
from .run import Report, run, run_plan
from .scenario import play
from .shrink import shrink


def main(argv: list[str] | None = None) -> int:
    """The command; 0 if all laws held."""
    args = _parser().parse_args(argv)
    if args.scenario:
        return _scenarios(args.scenario)
    if args.churn:
        return _churn(args.churn)
    if args.mutants is not None:
        return _mutants(args.mutants)
    if args.plan:
        return max([_one(_read(file), args, f"--plan {file}") for file in args.plan])
    config = _config(args)
    if args.seed is not None:
        return _one(generate(args.seed, config), args, f"--seed {args.seed}{_options(args)}")
    seeds = _seeds(args.seeds)
    if args.hashes:
        for seed in seeds:
            _say(f"{seed} {run(seed, config).trace_hash}")
        return 0
    return _many(seeds, config, args)


def _parser() -> argparse.ArgumentParser:
    about = __doc__ or ""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m kvnode.testing.sim", description=about, formatter_class=form)
    parser.add_argument("--seed", type=int, help="run this seed")
    parser.add_argument("--seeds", default="1..100", metavar="A..B", help="run all of these (default: %(default)s)")
    parser.add_argument("--plan", nargs="+", metavar="FILE", help="run these plans instead")
    parser.add_argument("--scenario", nargs="+", metavar="FILE", help="play these scenarios instead")
    parser.add_argument("--churn", type=int, metavar="CYCLES", help="write and delete so often instead")
    parser.add_argument("--mutants", nargs="*", metavar="NAME", help="hunt planted bugs instead: these, or all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes to use (default: all cores)")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="stop starting new seeds after this time")
    parser.add_argument("--nodes", metavar="A..B", help="how many nodes (default: mostly 2 to 6, rarely up to 30)")
    parser.add_argument("--operations", metavar="A..B", help="how many client operations (default: 15..90)")
    parser.add_argument("--faults", metavar="A..B", help="how many faults (default: 0..10)")
    parser.add_argument("--only", metavar="KIND,KIND", help=f"only these kinds of faults, of: {', '.join(FAULTS)}")
    parser.add_argument("--partial", type=int, metavar="PERCENT", help="so many partial replicas (default: 8)")
    parser.add_argument("--no-codec", action="store_true", help="hand messages over as objects, not as bytes")
    parser.add_argument("--trace", action="store_true", help="print every event of the run")
    parser.add_argument("--hashes", action="store_true", help="only print each seed with the hash of its trace")
    parser.add_argument("--no-shrink", action="store_true", help="do not shrink the first failing seed")
    return parser


def _mutants(names: list[str]) -> int:
    known = {mutant.name for mutant in MUTANTS}
    if unknown := set(names) - known:
        raise SystemExit(f"no such mutants: {', '.join(sorted(unknown))}; there are: {', '.join(sorted(known))}")
    return 0 if hunt(names, _say) else 1


def _config(args: argparse.Namespace) -> Config:
    default = Config()
    only = frozenset(args.only.split(",")) if args.only else None
    if only and (unknown := only - FAULTS.keys()):
        raise SystemExit(f"unknown kinds of faults: {', '.join(sorted(unknown))}; known: {', '.join(FAULTS)}")
    return Config(
        nodes=_span(args.nodes) if args.nodes else None,
        operations=_span(args.operations) if args.operations else default.operations,
        faults=_span(args.faults) if args.faults else default.faults,
        codec=not args.no_codec,
        only=only,
        partial=default.partial if args.partial is None else args.partial,
    )


def _span(text: str) -> tuple[int, int]:
    first, _, last = text.partition("..")
    try:
        return int(first), int(last or first)
    except ValueError:
        raise SystemExit(f"{text!r} is no range of numbers; write it as 3..5, or 4") from None


def _seeds(text: str) -> range:
    first, last = _span(text)
    return range(first, last + 1)


def _read(file: str) -> Plan:
    try:
        return parse(FilePath(file).read_text(encoding="utf-8"))
    except (OSError, PlanError) as error:
        raise SystemExit(f"{file}: {error}") from None


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _one(plan: Plan, args: argparse.Namespace, again: str) -> int:
    report = run_plan(plan, keep_trace=args.trace)
    for line in report.trace:
        _say(line)
    if args.seed is not None:
        _say(str(plan))
    _say(_line(report))
    if report.ok:
        return 0
    _failed(report, args, again)
    return 1


def _many(seeds: range, config: Config, args: argparse.Namespace) -> int:
    started = time.monotonic()
    failed: list[Report] = []
    covered = Coverage()
    with _mapper(args.jobs) as mapper:
        for report in mapper(partial(run, config=config), seeds):
            covered.add(report)
            if not report.ok:
                failed.append(report)
                _say(_line(report))
            if args.budget and time.monotonic() - started > args.budget:
                break
    for line in covered.lines(time.monotonic() - started):
        _say(line)
    _say(f"failed seeds: {' '.join(str(r.plan.seed) for r in failed) or 'none'}")
    if failed:
        simplest = min(failed, key=lambda r: len(r.plan.steps))
        _failed(simplest, args, f"--seed {simplest.plan.seed}{_options(args)}")
    if covered.missed and config == Config() and covered.seeds >= LONG:
        _say(f"BROKEN marks: {covered.seeds} seeds should take every rare branch, see kvnode/core/marks.py")
        return 1
    if covered.idle and config == Config() and covered.seeds >= LONG:
        _say(f"BROKEN faults: {covered.seeds} seeds should show all that faults do, see kvnode/testing/sim/happened.py")
        return 1
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


def _failed(report: Report, args: argparse.Namespace, again: str) -> None:
    """Print what broke, how to replay it, and a shrunk plan."""
    for broken in report.broken:
        _say(f"  {broken}")
    _say(f"replay: python -m kvnode.testing.sim {again}")
    if not args.no_shrink:
        small = shrink(report)
        _say(f"shrunk to {len(small.plan.steps)} steps; in a file, --plan runs it:\n{small.plan}")
        for broken in small.broken:
            _say(f"  {broken}")


def _churn(cycles: int) -> int:
    started = time.monotonic()
    done = churn(cycles)
    kept = ", ".join(f"{name} {count}" for name, count in done.most._asdict().items())
    _say(f"{cycles} cycles in {time.monotonic() - started:.0f} s; the most that a node kept: {kept}")
    _say(f"memory: {done.memory_early_kb} kB after a tenth, {done.memory_kb} kB at the end")
    for problem in done.problems:
        _say(f"BROKEN {problem}")
    return 1 if done.problems else 0


def _options(args: argparse.Namespace) -> str:
    given = (
        f" --{name} {value}"
        for name in ("nodes", "operations", "faults", "only", "partial")
        if (value := getattr(args, name)) is not None
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
