"""The metric `horizon`: its row, its curves in the trial's folder, and what it says it could not measure."""

import numpy as np
import pandas as pd
import pytest
import torch
from known_memories import VOCABULARY, build, example

from harness.contracts import MetricContext, Split
from harness.evaluation.horizon.metric import Horizon


def measured(model, folder, lengths, crop=None, **config):
    tokens = np.random.default_rng(0).integers(VOCABULARY, size=(len(lengths), max(lengths))).astype(np.uint8)
    split = Split(tokens=tokens, lengths=np.asarray(lengths))
    dataset = type("Data", (), {"splits": {"test": split}, "length": max(lengths), "sample_rate": 8000})()
    context = MetricContext(
        model=model,
        dataset=dataset,
        device=torch.device("cpu"),
        config={"train": {"crop": crop}},
        seed=0,
        folder=folder,
    )
    return Horizon(Horizon.Config(**config)).measure(context)


@pytest.fixture(scope="module")
def outcome(poolformer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trial")
    row = measured(poolformer, folder, [48, 48, 30, 5], clips=4, gradient_batches=1)
    series = {path.stem: pd.read_csv(path) for path in (folder / "series").iterdir()}
    return row, series


def test_a_row_holds_declared_columns_alone(outcome):
    row, _ = outcome
    assert row.keys() <= Horizon.columns.keys()
    assert row["horizon_levels"] == 3 and row["horizon_context"] == 48
    assert row["horizon_long_ms"] == 8 / 8


def test_the_curves_stand_in_the_folder_of_the_trial(outcome):
    row, series = outcome
    assert series.keys() == {"horizon_cut", "horizon_memory", "horizon_gradient"}
    cut = series["horizon_cut"].astype({"level": str})
    assert set(cut["level"]) == {"0", "1", "2", "all"}
    assert set(cut["distance_samples"]) == {1, 2, 4, 8, 16, 32}
    assert (cut["distance_ms"] == cut["distance_samples"] / 8).all()
    own = cut[cut["level"] == "1"].set_index("distance_samples")["rise_bits"]
    assert own[1] == own[2] == row["horizon_rise_bits_level1"]
    late_bits = cut[cut["level"] == "1"].set_index("distance_samples")["late_bits"]
    assert late_bits[8] == row["horizon_long_bits_level1"]
    memory = series["horizon_memory"]
    median = memory[(memory["level"] == 2) & (memory["quantile"] == 0.5)]["memory_ms"].item()
    assert median == pytest.approx(row["horizon_memory_ms_level2"])


def test_shares_of_the_gradient_add_up(outcome):
    gradient = outcome[1]["horizon_gradient"]
    parts = gradient[gradient["level"] != "all"]
    assert np.allclose(parts.groupby("distance_samples")["share"].sum(), 1.0)


def test_the_same_seed_measures_the_same(poolformer, outcome, tmp_path):
    row = measured(poolformer, tmp_path, [48, 48, 30, 5], clips=4, gradient_batches=1)
    assert {k: v for k, v in row.items() if v == v} == {k: v for k, v in outcome[0].items() if v == v}


def test_a_model_without_memory_says_so(tmp_path):
    row = measured(build("unigram"), tmp_path, [8, 8])
    assert row["horizon_levels"] == 0 and "no mixers" in row["horizon_remarks"]
    assert not (tmp_path / "series").exists()


def test_what_could_not_be_measured_is_remarked(tmp_path):
    row = measured(example("sample_rnn"), tmp_path, [64] * 3, crop=48, clips=3, gradient_batches=1)
    assert "no gradients by level: GRU is called of parts of a sequence" in row["horizon_remarks"]
    assert not (tmp_path / "series" / "horizon_gradient.csv").exists()
    assert row["horizon_context"] == 48


def test_clips_of_one_sample_have_nothing_to_forget(poolformer, tmp_path):
    row = measured(poolformer, tmp_path, [1, 1])
    assert "too short" in row["horizon_remarks"] and "horizon_level_correlation" not in row
