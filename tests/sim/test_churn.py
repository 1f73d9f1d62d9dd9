"""Delete and write again: nothing that a node keeps grows with the number of changes. The long form has a million
cycles, ``python -m kvnode.testing.sim --churn 1000000``.
"""

from __future__ import annotations

import pytest

from kvnode.core.forget import Forget
from kvnode.testing.sim.churn import churn


def test_nothing_grows() -> None:
    done = churn(240)
    assert done.problems == []
    assert done.most.tombstones > 0


@pytest.mark.interpreted
def test_what_grows_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Forget, "is_stable", lambda self, version: False)
    with pytest.raises(AssertionError, match="still keeps"):
        churn(60)
