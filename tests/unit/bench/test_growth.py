"""The measurements of how cost grows: network, model, charts; and charts and data are in step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from xml.etree import ElementTree

import pytest

from bench.growth import __main__ as growth
from bench.growth import filtered
from bench.growth.figures import PICTURES, charts
from bench.growth.measure import VALUE, heal, measure, write
from bench.growth.mesh import Mesh
from bench.growth.model import fit, flood, neighbours, spread
from bench.growth.plot import Chart, Series, draw
from bench.growth.shapes import SHAPES, full, partial, relays, ring, tree
from kvnode.core.acks import Acks
from kvnode.core.path import Path

SVG = "{http://www.w3.org/2000/svg}"


def cluster(nodes: int) -> Mesh:
    """A full mesh at rest."""
    mesh = Mesh()
    for number in range(nodes):
        mesh.add(f"n{number}")
    mesh.run_for(10)
    for a, b in full(nodes):
        mesh.link(mesh.nodes[a], mesh.nodes[b])
    mesh.run_for(3_000)
    assert mesh.agree()
    return mesh


# -- the network -------------------------------------------------------------------------------------------------------


def test_a_write_crosses_the_mesh_and_is_counted() -> None:
    mesh = cluster(3)
    before, received = mesh.counted.copy(), mesh.received.total()
    write(mesh.nodes[0], "k")
    mesh.run_for(1)
    assert mesh.run_until(mesh.agree, 100)
    mesh.run_for(20)
    path = Path(("bench", "n0", "k"))
    assert [bytes(node.replica.tree.at(path)[0].details.value) for node in mesh.nodes] == [VALUE] * 3
    spent = mesh.counted.since(before)
    assert spent.frames["Versions"] == 2
    assert 2 * len(VALUE) < spent.bytes["Versions"] < 4 * len(VALUE)
    assert spent.all_bytes == mesh.received.total() - received
    assert spent.cpu_ns > 0


def test_what_is_cut_off_catches_up() -> None:
    mesh = cluster(3)
    peers = mesh.isolate(mesh.nodes[2])
    write(mesh.nodes[0], "k")
    mesh.run_for(1_000)
    assert not mesh.agree()
    for peer in peers:
        mesh.link(mesh.nodes[2], peer)
    assert mesh.run_until(mesh.agree, 10_000)


def test_a_row_has_all_that_is_drawn() -> None:
    row = measure("tree of relays", tree, 3, updates=1, busy=2)
    assert (row.nodes, row.links) == (3, 2)
    assert row.update_bytes > row.update_bytes_values > 2 * len(VALUE)
    assert row.heard_pairs_per_node >= 6
    assert row.join_ms > 0


def test_after_a_cut_each_update_crosses_few_links() -> None:
    row = heal("full mesh", full, 3)
    assert row.degree == 2
    assert 1.5 * len(VALUE) < row.heal_bytes_values_per_update < 4 * len(VALUE)
    assert row.heal_ms > 0


@pytest.mark.interpreted
def test_leaves_hear_less_where_acknowledgements_are_kept_from_them() -> None:
    told = Acks._tell
    heard = [filtered.measure(7, variant).heard_pairs_per_leaf for variant in filtered.VARIANTS]
    assert Acks._tell is told
    assert heard == sorted(heard, reverse=True)
    assert len(set(heard)) == 3


def test_filtered_says_that_it_cannot_run_compiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(filtered, "is_compiled", lambda: True)
    assert growth.main(["filtered", "10"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("bench.growth: filtered tries out another ")
    assert err.count("\n") == 1


def _calls_of_an_update(nodes: int) -> float:
    """Calls of functions, Python's own included, for one update at one node of a full mesh."""
    mesh, calls = cluster(nodes), 0

    def count(frame: FrameType, event: str, what: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    write(mesh.nodes[0], "first")
    mesh.run_for(1_000)
    write(mesh.nodes[0], "k")
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        mesh.run_for(1_000)
    finally:
        sys.setprofile(before)
    return calls / nodes


def test_an_update_costs_a_node_of_a_mesh_in_proportion_to_the_nodes() -> None:
    few, more, many = (_calls_of_an_update(nodes) for nodes in (3, 6, 9))
    assert many - more < 1.03 * (more - few)


# -- the model ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [full, tree])
def test_a_word_crosses_a_mesh_and_a_tree_once_for_each_node(shape: Callable[[int], list[tuple[int, int]]]) -> None:
    assert spread(shape, 20).crossings == 19


def test_a_word_meets_itself_where_the_ring_closes() -> None:
    links = neighbours(ring(5), 5)
    assert flood(links, 0) == (6, 2)
    assert flood(neighbours(ring(6), 6), 0) == (6, 3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("nodes", [2, 3, 10, 31])
def test_every_shape_hangs_together(shape: str, nodes: int) -> None:
    links = neighbours(SHAPES[shape](nodes), nodes)
    seen, ahead = set[int](), {0}
    while ahead:
        seen |= ahead
        ahead = set().union(*(links[n] for n in ahead)) - seen
    assert len(seen) == nodes


def test_shapes_have_the_degrees_that_they_promise() -> None:
    assert max(map(len, neighbours(partial(100), 100))) <= 8
    assert max(map(len, neighbours(tree(100), 100))) == 5
    assert sorted(map(len, neighbours(relays(20), 20)))[:18] == [1] * 18


def test_a_fit_finds_what_the_points_were_made_of() -> None:
    got = fit((lambda n: n, lambda n: n * n), [(n, 3.0 * n + 2.0 * n * n) for n in (3, 5, 10, 20)])
    assert (round(got.a, 6), round(got.b, 6), round(got.error, 6)) == (3, 2, 0)
    assert round(got.at(100)) == 20_300


def test_a_fit_tells_by_how_much_it_misses_the_largest_size() -> None:
    got = fit((lambda n: 1.0, lambda n: n), [(1, 1.0), (2, 2.0), (3, 3.0), (4, 8.0)])
    assert round(got.error, 3) == 0.5


def test_a_fit_has_no_negative_part() -> None:
    got = fit((lambda n: 1.0, lambda n: n), [(1, 10.0), (2, 8.0), (3, 6.0)])
    assert min(got.a, got.b) >= 0


# -- the charts --------------------------------------------------------------------------------------------------------


def test_a_chart_is_a_picture_with_a_legend() -> None:
    lines = [Series("measured & told", [(1, 10), (10, 200)], [(100, 5_000)]), Series("other", [(1, 3), (100, 3)])]
    text = draw(Chart("name", "A title", "nodes", "bytes", lines))
    assert text == draw(Chart("name", "A title", "nodes", "bytes", lines))
    root = ElementTree.fromstring(text)
    words = [node.text for node in root.iter(f"{SVG}text")]
    assert {"A title", "nodes", "bytes", "measured & told", "other"} <= set(words)
    assert len(root.findall(f"{SVG}polyline")) == 3
    assert len(root.findall(f"{SVG}path")) == 4 + 2


def test_pictures_and_data_are_in_step() -> None:
    """After new results: ``python -m bench.growth thousand``, then ``plot``."""
    drawn = {f"{chart.name}.svg": draw(chart) for chart in charts()}
    assert {file.name: file.read_text() for file in PICTURES.glob("*.svg")} == drawn
    page = PICTURES.with_suffix(".md").read_text()
    assert [name for name in drawn if f"growth/{name}" not in page] == []
