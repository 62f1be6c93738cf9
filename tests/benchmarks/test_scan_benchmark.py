"""`python -m benchmarks.scan`: what it writes, and that nobody who is wrong is timed."""

from __future__ import annotations

import sys

import pytest
import torch

from benchmarks import scan, scan_candidates
from benchmarks.output import CIRCUMSTANCES, COLUMNS
from benchmarks.recurrences import heinsen, loop_in_place, torch_associative_scan, truth
from benchmarks.scan_candidates import (
    LOG_DECAY,
    SELECTIVE,
    Candidate,
    as_it_is,
    candidates,
    channels_first,
    channels_first_padded,
)
from models.scan.reference import reference_scan

TINY = ("--size", "2x40x3", "--repetitions", "3", "--seconds", "0.01", "--copy-mib", "1")
CPU = torch.device("cpu")


def inputs(dtype=torch.float64, length=40):
    case = scan.Case(batch=2, length=length, width=3, dtype=dtype, decay=(0.3, 1.0), device=CPU)
    return case.inputs()


def test_one_command_writes_a_row_a_candidate_and_size(run, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["scan", *TINY])
    table, printed = run(scan.app, *TINY, "--dtype", "float32", "--decay", "0.3:1")
    own = ["decay", "max_error_grad", "error_grad_a", "error_grad_b"]
    assert list(table.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert set(table.columns[len(COLUMNS) : -len(CIRCUMSTANCES)]) == set(own)
    assert list(table.columns[-len(CIRCUMSTANCES) :]) == list(CIRCUMSTANCES)

    assert set(table["status"]) <= {"ok", "ceiling", "missing"}
    assert set(table["what"]) == {"forward", "forward+backward"}
    timed = table[table["status"] == "ok"]
    assert {"ours, chunked", "loop over unbind", "loop in place", "torch associative_scan"} <= {
        *timed["name"]
    }
    assert (timed["max_error"] < 1e-6).all() and (timed["median_ms"] > 0).all()
    assert (timed["repetitions"] == 3).all() and timed["ratio_to_ours"].notna().all()
    assert (timed.loc[timed["ours"], "ratio_to_ours"] == 1).all()
    forward = timed[timed["what"] == "forward"]
    assert set(forward["bytes_moved"]) == {3 * 4 * 2 * 40 * 3}
    assert set(timed.loc[timed["what"] != "forward", "bytes_moved"]) == {8 * 4 * 2 * 40 * 3}
    missing = table[table["status"] == "missing"]
    assert missing["note"].notna().all() and missing["median_ms"].isna().all()
    assert table["command"].iloc[0].startswith("python -m benchmarks.scan --size 2x40x3")
    assert table["git_commit"].notna().all() and table["cpu_model"].notna().all()
    assert "ours, chunked" in printed and "missing" in printed


def wrong_value(a, b):
    return reference_scan(a, b) * 1.01


def wrong_gradient(a, b):
    return reference_scan(a.detach(), b) + 0 * a


def not_a_number(a, b):
    return reference_scan(a, b) * torch.nan


@pytest.mark.parametrize(
    ("function", "wrong_in"),
    [
        (wrong_value, {"forward", "forward+backward"}),
        (wrong_gradient, {"forward+backward"}),
        (not_a_number, {"forward", "forward+backward"}),
    ],
)
def test_a_candidate_that_computes_something_else_is_a_row_without_a_time(
    run, monkeypatch, function, wrong_in
):
    impostor = Candidate(name="impostor", scan=function)
    monkeypatch.setattr(scan, "candidates", lambda device: [*candidates(device), impostor])
    table, printed = run(scan.app, *TINY, "--dtype", "float32", "--decay", "0.9999", "--only", "impostor")
    rows = table[table["name"] == "impostor"].set_index("what")
    wrong = rows[rows["status"] == "wrong"]
    assert set(wrong.index) == wrong_in
    assert wrong["median_ms"].isna().all() and wrong["repetitions"].isna().all()
    assert wrong["note"].str.contains("error").all()
    assert "impostor: wrong" in printed


def test_a_candidate_that_breaks_is_a_row_too(run, monkeypatch):
    def breaks(a, b):
        raise RuntimeError("needs a GPU")

    broken = Candidate(name="broken", scan=breaks)
    monkeypatch.setattr(scan, "candidates", lambda device: [*candidates(device), broken])
    table, _ = run(scan.app, *TINY, "--dtype", "float32", "--decay", "0.5", "--only", "broken")
    rows = table[table["name"] == "broken"]
    assert set(rows["status"]) == {"failed"} and set(rows["note"]) == {"RuntimeError: needs a GPU"}


def test_a_quadratic_gradient_is_taken_at_a_short_length_only_and_the_row_says_so(run, monkeypatch):
    monkeypatch.setattr(scan_candidates, "SHORT", 20)
    table, _ = run(scan.app, *TINY, "--dtype", "float32", "--decay", "0.5", "--only", "in place")
    rows = table[table["name"] == "loop in place"]
    both = rows[rows["what"] == "forward+backward"].set_index("length")
    assert both.loc[40, "status"] == "not timed" and "quadratic" in both.loc[40, "note"]
    assert both.loc[20, "status"] == "ok"
    ours = table[table["ours"] & (table["length"] == 20)]
    assert set(ours["status"]) == {"ok"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_truth_is_what_autograd_finds(dtype):
    a, b, grad = inputs(dtype)
    leaves = [a.requires_grad_(), b.requires_grad_()]
    expected = torch.autograd.grad(reference_scan(*leaves), leaves, grad)
    found = truth(a.detach(), b.detach(), grad)
    torch.testing.assert_close((found.grad_a, found.grad_b), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("function", [loop_in_place, torch_associative_scan, heinsen])
def test_the_forms_written_here_compute_the_recurrence_and_its_gradients(function, dtype):
    a, b, grad = inputs(dtype)
    leaves = [a.requires_grad_(), b.requires_grad_()]
    h = function(*leaves)
    exact = truth(a.detach(), b.detach(), grad)
    torch.testing.assert_close(h, exact.states, rtol=1e-9, atol=1e-9)
    grad_a, grad_b = torch.autograd.grad(h, leaves, grad)
    torch.testing.assert_close(grad_b, exact.grad_b, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(grad_a, exact.grad_a, rtol=1e-8, atol=1e-8)


def log_form(log_a, b):
    return reference_scan(log_a.exp(), b)


def selective_form(step, u):
    """Mamba's recurrence, in its layout: [B, D, L]."""
    a, b = torch.exp(-step), step * u
    return reference_scan(a.transpose(1, 2), b.transpose(1, 2)).transpose(1, 2)


def padded_form(a, b):
    assert a.shape[-1] == 64 and a.is_contiguous()
    return reference_scan(a.transpose(1, 2), b.transpose(1, 2)).transpose(1, 2)


@pytest.mark.parametrize(
    "candidate",
    [
        Candidate(name="log decays", scan=log_form, terms=LOG_DECAY, layout=as_it_is),
        Candidate(name="selective", scan=selective_form, terms=SELECTIVE, layout=channels_first),
        Candidate(name="padded", scan=padded_form, layout=channels_first_padded),
    ],
    ids=lambda candidate: candidate.name,
)
def test_terms_and_layouts_of_peers_describe_the_same_recurrence(candidate):
    a, b, grad = inputs()
    columns = {"what": "forward+backward"}
    entry = scan.entry_for(candidate, "forward+backward", (a, b, grad), truth(a, b, grad), columns)
    assert entry.status == "ok", entry.note
    assert entry.columns["max_error_grad"] < 1e-12


def test_a_kernel_for_another_device_is_missing_with_the_reason():
    reasons = {each.name: each.unavailable(CPU) for each in candidates(CPU)}
    assert reasons["accelerated_scan.warp"] == "runs on cuda only"
    assert reasons["ours, chunked"] is None


def test_a_package_that_cannot_be_imported_is_missing_with_the_reason():
    reason = scan_candidates.needs("package_that_nobody_has")(CPU)
    assert "ModuleNotFoundError" in reason and "package_that_nobody_has" in reason


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--size", "4x100"), "batch x length x width"),
        (("--dtype", "int8"), "'int8' is none of"),
        (("--decay", "2"), "magnitudes in (0, 1]"),
        (("--threads", "0"), "whole numbers"),
        (("--device", "gpu"), "is no device"),
    ],
)
def test_wrong_options_are_refused_in_a_sentence(refusal, arguments, complaint):
    assert complaint in refusal(scan.app, *arguments)
