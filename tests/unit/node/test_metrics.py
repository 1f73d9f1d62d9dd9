"""The Prometheus text form."""

from __future__ import annotations

import pytest

from kvnode.node.metrics import Metric, counter, gauge, render


def test_families_with_and_without_labels() -> None:
    text = render(
        [
            gauge("kvnode_entries", "Entries held.", 3),
            counter("kvnode_bytes_total", "Bytes\nsent \\ received.", {(("peer", 'a"\n\\b'),): 1.5, (): 2}),
            gauge("kvnode_lag_seconds", "Lag.", {}),
        ]
    )
    assert text == (
        "# HELP kvnode_entries Entries held.\n"
        "# TYPE kvnode_entries gauge\n"
        "kvnode_entries 3\n"
        "# HELP kvnode_bytes_total Bytes\\nsent \\\\ received.\n"
        "# TYPE kvnode_bytes_total counter\n"
        'kvnode_bytes_total{peer="a\\"\\n\\\\b"} 1.5\n'
        "kvnode_bytes_total 2\n"
        "# HELP kvnode_lag_seconds Lag.\n"
        "# TYPE kvnode_lag_seconds gauge\n"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (-1, "-1"), (True, "1"), (1e300, "1e+300"), (0.1, "0.1"), (2.0, "2"),
        (float("inf"), "+Inf"), (float("-inf"), "-Inf"), (float("nan"), "NaN"), (1 << 60, "1.152921504606847e+18"),
    ],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert render([gauge("a", "A.", value)]).splitlines()[-1] == f"a {text}"


def test_a_label_with_half_a_surrogate_pair_is_still_utf8() -> None:
    assert render([gauge("a", "A.", {(("b", "\udc80"),): 1})]).encode()


@pytest.mark.parametrize(
    ("name", "kind", "labels"),
    [
        ("a b", "gauge", ()),
        ("1a", "gauge", ()),
        ("a_total", "gauge", ()),
        ("a", "counter", ()),
        ("a", "gauge", (("b-c", ""),)),
        ("a", "gauge", (("__b", ""),)),
    ],
)
def test_what_prometheus_would_not_take(name: str, kind: str, labels: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(ValueError, match=name):
        Metric(name, kind, "A.", {labels: 1})  # type: ignore[arg-type] # the wrong kind is the point


def test_a_name_comes_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        render([gauge("a", "A.", 1), gauge("a", "A.", 2)])
