"""`python -m benchmarks.growth`: points, limits, exponents and the figure."""

from __future__ import annotations

import pytest

from benchmarks import growth, growth_point, subprocesses, training
from benchmarks.growth_series import Limits, Series

SMALL = "small={name: poolformer, width: 8, layers: 1, pooling: [2], mixer: {hidden: 16, blocks: 2}}"


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    """Importing torch in it takes seconds, and no test here starts a process."""
    monkeypatch.setattr(subprocesses, "preload", lambda *modules: None)


@pytest.fixture
def at_once(monkeypatch):
    """Points measured in this process; returns what was asked for."""
    asked = []

    def run_here(function, argument, **limits):
        asked.append((argument, limits))
        return function(argument)

    monkeypatch.setattr(subprocesses, "run_apart", run_here)
    return asked


@pytest.fixture
def power(monkeypatch):
    """Points that grow as powers of their size: time by 1.5, memory by 2."""

    def invented(function, argument, **limits):
        size = argument["length"] * argument["batch"]
        return {
            "status": "ok",
            "median_ms": 0.01 * size**1.5,
            "iqr_ms": 0.0,
            "min_ms": 0.0,
            "repetitions": 3,
            "peak_memory_mib": 0.001 * size**2,
            "tokens_per_second": 1.0,
        }

    monkeypatch.setattr(subprocesses, "run_apart", invented)


def test_one_command_measures_all_axes_and_draws(run, at_once, tmp_path):
    table, printed = run(
        growth.app,
        *("--model", SMALL, "--lengths", "16:32", "--widths", "8:16", "--batches", "1:2"),
        *("--length", "16", "--repetitions", "2", "--threads", "1", "--time-limit", "100"),
        *("--figure", str(tmp_path / "growth")),
    )
    points = table[table["what"].str.startswith("over")]
    assert set(points["status"]) == {"ok"}
    assert points.groupby("axis")[["length", "width", "batch"]].nunique().max(axis=1).to_dict() == {
        "length": 2,
        "width": 2,
        "batch": 2,
    }
    assert (points["max_error"] < 1e-4).all() and (points["repetitions"] == 2).all()
    exponents = table[table["what"].str.startswith("exponent")]
    assert len(exponents) == 6 and exponents["exponent"].notna().all()
    assert (tmp_path / "growth.png").stat().st_size > 0 and (tmp_path / "growth.svg").stat().st_size > 0
    assert "95 % interval" in printed


def test_exponents_are_those_of_the_points(run, power):
    table, _ = run(
        growth.app, "--model", SMALL, "--axis", "length", "--lengths", "16:256", "--time-limit", "1e9"
    )
    found = table[table["what"].str.startswith("exponent")].set_index("what")
    assert found.loc["exponent of time", "exponent"] == pytest.approx(1.5)
    assert found.loc["exponent of memory", "exponent"] == pytest.approx(2.0)
    assert found.loc["exponent of memory", "exponent_high"] == pytest.approx(2.0)
    assert found["points"].tolist() == [5, 5]


def test_a_series_ends_with_a_row_before_it_exceeds_the_memory(run, power):
    table, printed = run(
        growth.app,
        *("--model", SMALL, "--axis", "length", "--lengths", "16:4096"),
        *("--memory-limit", "20", "--time-limit", "1e9"),
    )
    points = table[table["what"] == "over length"]
    assert points["length"].tolist() == [16, 32, 64, 128, 256]  # 0.001 * 128**2 = 16.4; 256 would need 66
    assert points["status"].tolist() == ["ok"] * 4 + ["out of memory limit"]
    assert "expected 66 MiB" in points["note"].iloc[-1]
    assert "out of memory limit" in " ".join(printed.split())


def test_a_series_ends_with_a_row_before_it_exceeds_the_time(run, power):
    table, _ = run(
        growth.app,
        *("--model", SMALL, "--axis", "batch", "--batches", "1:64", "--length", "16"),
        *("--memory-limit", "1e9", "--time-limit", "0.5"),
    )
    points = table[table["what"] == "over batch"]
    assert points["status"].iloc[-1] == "out of time limit"
    assert points["status"].iloc[:-1].eq("ok").all()


def test_long_steps_are_timed_less_often():
    series = Series("x", {}, "length", ours=True)
    limits = Limits(memory_mib=1e9, seconds=10.0, repetitions=5)
    assert limits.affordable(series, 64) == 5  # nothing is known yet
    series.rows = [{"status": "ok", "length": 64, "median_ms": 500.0, "peak_memory_mib": 1.0}]
    assert limits.affordable(series, 128) == 5  # 7 steps of 1 s
    assert limits.affordable(series, 256) == 3  # 5 steps of 2 s
    assert limits.exceeded(series, 256) is None
    assert limits.exceeded(series, 512) == ("out of time limit", "expected 12 s, limit 10 s")


def test_models_take_turns_at_every_size(run, at_once, monkeypatch):
    monkeypatch.setattr(growth_point, "measure", lambda point: {"status": "ok", "median_ms": 1.0, **MEMORY})
    run(
        growth.app,
        *("--model", "poolformer", "--model", "transformer", "--axis", "length", "--lengths", "16:32"),
    )
    asked = [(argument["length"], argument["model"]["name"]) for argument, _ in at_once]
    assert asked == [(16, "poolformer"), (16, "transformer"), (32, "poolformer"), (32, "transformer")]


MEMORY = {"iqr_ms": 0.0, "min_ms": 1.0, "repetitions": 1, "peak_memory_mib": 1.0, "tokens_per_second": 1.0}


def test_a_wider_model_keeps_its_proportions():
    found = growth.scaled(dict(training.REFERENCE), 128)
    assert (found["width"], found["mixer"]["hidden"], found["mixer"]["blocks"]) == (128, 512, 64)
    assert training.REFERENCE["mixer"]["hidden"] == 256
    assert growth.scaled({"name": "transformer", "width": 8}, 16) == {"name": "transformer", "width": 16}


def test_a_point_that_cannot_be_built_says_why():
    found = growth_point.measure(
        {"model": {"name": "poolformer", "width": 7}, "threads": 1, "device": "cpu", "dtype": "float32"}
    )
    assert found["status"] == "failed" and "must be even" in found["note"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--axis", "depth"), "--axis takes length, width, batch"),
        (("--lengths", "64:16"), "expected FIRST:LAST"),
        (("--precision", "fp8"), "--precision takes"),
    ],
)
def test_wrong_options_are_refused(refusal, arguments, complaint):
    assert complaint in refusal(growth.app, *arguments)
