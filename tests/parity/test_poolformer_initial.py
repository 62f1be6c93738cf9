"""Parameter counts and initial values of the authors' launch template."""

from __future__ import annotations

import math

import numpy as np
import torch
from golden_cases import Case

from models.original import config_from_original, to_original
from models.poolformer import Poolformer


def initial(case: Case) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    statistics = case.facts["init_statistics_per_array"]
    (vocab_size,) = statistics["cls_head/final/bias"]["shape"]
    model = Poolformer(config_from_original(case.facts["hyper_parameters"]), vocab_size)
    values = to_original(model, dict(model.named_parameters()))
    return {name: value.detach().double().numpy() for name, value in values.items()}


def test_the_arrays_have_the_same_names_and_shapes(initial_case: Case) -> None:
    expected = {n: tuple(s["shape"]) for n, s in initial_case.facts["init_statistics_per_array"].items()}
    found = initial(initial_case)
    assert {name: value.shape for name, value in found.items()} == expected
    assert sum(value.size for value in found.values()) == initial_case.facts["parameter_count"]
    assert len(found) == initial_case.facts["arrays_count"]


def test_the_initial_values_have_the_same_mean_and_spread(initial_case: Case) -> None:
    """Within five standard errors of the difference of two samples, for every single array."""
    expected = initial_case.facts["init_statistics_per_array"]
    for name, value in initial(initial_case).items():
        mean, deviation = expected[name]["mean"], expected[name]["std"]
        if deviation == 0:
            assert (value == mean).all(), name
            continue
        error = deviation * math.sqrt(2 / value.size)
        assert abs(value.mean() - mean) < 5 * error, name
        assert abs(value.std() - deviation) < 5 * error, name
        assert value.min() > expected[name]["min"] - 3 * deviation, name
        assert value.max() < expected[name]["max"] + 3 * deviation, name


def test_cut_normals_are_cut_at_the_same_place(initial_case: Case) -> None:
    """Large arrays that end within 2.4 deviations are cut there, not merely small by chance."""
    expected = initial_case.facts["init_statistics_per_array"]
    for name, value in initial(initial_case).items():
        ends, deviation = (expected[name]["min"], expected[name]["max"]), expected[name]["std"]
        if value.size >= 16_384 and ends[1] < 2.4 * deviation:
            np.testing.assert_allclose((value.min(), value.max()), ends, rtol=0.02, err_msg=name)
