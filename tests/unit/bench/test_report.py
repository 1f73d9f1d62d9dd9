"""The tables of the benchmarks: medians, ratios within a round, targets; and the file that keeps the samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import report
from bench.compare import Results, load_results
from bench.distance import BOTTOMS, distances
from bench.stages import ROWS
from bench.systems import SYSTEMS
from bench.targets import TARGETS, Bound, Versus
from kvnode.testing.bench.timing import Sample

LATENCY = next(row for row in ROWS if row.name == "put-1")
RATE = next(row for row in ROWS if row.name == "put-64")


def results(**rounds: list[dict[str, float]]) -> Results:
    """Of each system a measure and its value, for each round."""
    count = max(map(len, rounds.values()))
    made = Results({"machine": "of a test"})
    for number in range(count):
        one = {
            system.replace("_", "-"): {
                measure.replace("_", "-"): Sample(value, 10, {"client": 5.0, "a": 7.0})
                for measure, value in values[number].items()
            }
            for system, values in rounds.items()
            if number < len(values)
        }
        made.rounds.append(one)
    return made


def test_a_ratio_is_taken_within_each_round_and_says_how_many_times_better() -> None:
    found = results(
        kvnode=[{"put_1": 1.0}, {"put_1": 10.0}, {"put_1": 2.0}],
        redis_always=[{"put_1": 2.0}, {"put_1": 20.0}, {"put_1": 2.0}],
    )
    assert report.ratio(found, LATENCY, "kvnode", "redis-always") == 2.0


def test_where_more_is_better_so_is_a_higher_value() -> None:
    found = results(kvnode=[{"put_64": 900.0}], etcd=[{"put_64": 300.0}])
    assert report.ratio(found, RATE, "kvnode", "etcd") == 3.0


def test_a_round_in_which_one_of_the_two_failed_counts_for_nothing() -> None:
    found = results(kvnode=[{"put_64": 900.0}, {"put_64": 100.0}], etcd=[{"put_64": 300.0}])
    assert report.ratio(found, RATE, "kvnode", "etcd") == 3.0
    assert report.ratio(found, RATE, "kvnode", "nats") is None


def test_values_tell_the_median_the_range_and_how_many_times_as_good_kvnode_is() -> None:
    found = results(kvnode=[{"put_64": 900.0}, {"put_64": 100.0}], etcd=[{"put_64": 300.0}, {"put_64": 50.0}])
    lines = report.values(found, ["kvnode", "etcd"]).splitlines()
    assert lines[0] == "| measure | kvnode | etcd |"
    assert lines[2:] == ["| puts, 64 in flight per s | 500 (100 to 900) | 175 (50 to 300), 2.5x |"]


@pytest.mark.parametrize(("value", "met"), [(2.9, "**no**"), (3.0, "yes")])
def test_a_target_against_another_system(value: float, met: str) -> None:
    found = results(kvnode=[{"put_64": value}], redis_always=[{"put_64": 1.0}])
    wanted = "kvnode 3x as good as redis-always"
    assert report.targets(found).splitlines()[2:] == [f"| puts, 64 in flight | {wanted} | {value:.2f}x | {met} |"]


@pytest.mark.parametrize(("value", "met"), [(0.9, "**no**"), (0.7, "yes")])
def test_a_target_by_itself(value: float, met: str) -> None:
    found = results(kvnode=[{"restart": value}])
    assert report.targets(found).splitlines()[2:] == [
        f"| restart until complete | at most 0.8 s | {value:.3g} s | {met} |"
    ]


def test_cpu_time_of_the_client_and_of_each_server() -> None:
    found = results(kvnode=[{"put_64": 1.0}])
    assert report.cpu(found, ["kvnode"]).splitlines()[2:] == ["| puts, 64 in flight | 5 + 7 = 12 |"]


def test_results_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    found = results(kvnode=[{"put_64": 1.0}])
    found.failures.append("etcd, cut: it did not start")
    found.save(tmp_path / "results.json")
    assert load_results(tmp_path / "results.json") == found


def test_each_target_names_a_measure_and_systems_that_exist() -> None:
    measures = {row.name for row in ROWS}
    for target in TARGETS:
        assert target.measure in measures
        if isinstance(target, Versus):
            assert {target.system, target.rival} <= set(SYSTEMS)
        else:
            assert isinstance(target, Bound)


def test_the_distance_from_the_floor_is_at_least_one_where_the_floor_is_one() -> None:
    floor = {
        "loopback there and back, protocol of uvloop, p50": 50.0,
        "append and fdatasync, p50": 0.15,
        "plain log, groups of 64": 5_000.0,
        "plain log, groups of 1000": 90_000.0,
    }
    found = results(kvnode=[{"get_1": 0.1, "far": 0.75, "put_1": 0.4, "put_64": 1_000.0, "batch": 30_000.0}])
    cells = [line.split(" | ") for line in distances(found, floor).splitlines()[2:]]
    assert [cell[-1].rstrip(" |") for cell in cells] == ["2x", "10x", "2x", "5x", "3x"]
    assert {bottom.measure for bottom in BOTTOMS} <= {row.name for row in ROWS}
