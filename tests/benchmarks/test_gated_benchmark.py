"""`python -m benchmarks.gated`: every form of the gated recurrence agrees before it is timed."""

from __future__ import annotations

import pytest

from benchmarks import gated

TINY = ("--size", "2x30x4", "--repetitions", "3", "--seconds", "0.01", "--copy-mib", "1")


@pytest.mark.parametrize("channels", ["real", "complex"])
def test_all_forms_agree_and_are_timed(run, channels):
    table, printed = run(gated.app, *TINY, "--channels", channels)
    rows = table[~table["status"].isin(["ceiling", "missing"])]
    assert set(rows["status"]) == {"ok"}
    assert rows["name"].str.startswith("ours").any() and rows["name"].str.startswith("Recurrent").any()
    assert (rows["max_error"] < 1e-5).all()
    gradients = rows.loc[rows["what"] == "forward+backward", ["error_grad_x", "error_grad_p", "error_grad_q"]]
    assert (gradients < 1e-5).all(axis=None)
    assert (rows.loc[rows["ours"], "ratio_to_ours"] == 1).all()
    arrays = 4 if channels == "real" else 6  # x, p, q, h, those in complex form twice
    width = 4 if channels == "real" else 2
    assert set(rows.loc[rows["what"] == "forward", "bytes_moved"]) == {arrays * width * 4 * 2 * 30}
    assert f"{channels} channels" in printed


def test_a_wrong_form_is_not_timed(run, monkeypatch):
    monkeypatch.setattr(gated, "in_place", lambda inputs: inputs.x + 0 * inputs.p.sum() + 0 * inputs.q.sum())
    table, _ = run(gated.app, *TINY, "--channels", "real")
    row = table[table["name"] == "RecurrentGemma's structure, loop in place"].iloc[0]
    assert row["status"] == "wrong" and row["median_ms"] != row["median_ms"]


def test_wrong_options_are_refused(refusal):
    assert "real and complex" in refusal(gated.app, "--channels", "imaginary")
    assert "even width" in refusal(gated.app, "--channels", "complex", "--size", "1x5x3")
