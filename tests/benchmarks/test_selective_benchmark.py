"""The benchmark of Mamba's selective scan: who agrees is timed; the authors' function runs from its file."""

import pytest
import torch

from benchmarks import selective
from benchmarks.contest import Budget
from harness.errors import HarnessError

BUDGET = Budget(repetitions=1, seconds=0.0)


def test_every_candidate_that_can_run_agrees_and_is_timed():
    rows = selective.contest(1, 20, 3, 2, selective.BOTH, BUDGET, None)
    found = {row["name"]: row["status"] for row in rows}
    assert found["ours, lanes"] == found["reference's structure"] == "ok"
    assert {"ok", "ceiling", "missing"} >= set(found.values())
    assert all(row["max_error_grad"] < 1e-5 for row in rows if row["status"] == "ok")


def test_a_quadratic_gradient_is_not_taken_over_a_long_sequence(monkeypatch):
    monkeypatch.setattr(selective, "SHORT", 10)
    rows = selective.contest(1, 20, 3, 2, selective.BOTH, BUDGET, None)
    (row,) = (row for row in rows if row["name"] == "reference's structure")
    assert row["status"] == "not timed" and "quadratic" in row["note"]


def test_the_authors_function_is_read_from_a_checkout_without_its_module(tmp_path):
    pytest.importorskip("einops")
    file = tmp_path / selective.FILE
    file.parent.mkdir(parents=True)
    file.write_text(
        "import selective_scan_cuda\n\ndef selective_scan_ref(u, delta, A, B, C):\n    return u * 2\n"
    )
    assert selective.reference_of(tmp_path)(torch.ones(1), None, None, None, None) == 2


def test_a_checkout_without_it_is_refused(tmp_path):
    with pytest.raises(HarnessError, match="--original"):
        selective.reference_of(tmp_path)
