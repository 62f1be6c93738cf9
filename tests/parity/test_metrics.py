"""Quality metrics against the numbers of the published SC09 script (state-spaces/s4)."""

from __future__ import annotations

import numpy as np
import pytest
from golden_cases import Case

from harness.evaluation.quality.embedding import Embedding
from harness.evaluation.quality.frechet import Gaussian, frechet_distance
from harness.evaluation.quality.inception import (
    PAIRS,
    PUBLISHED_SEED,
    am_score,
    divergences,
    inception_score,
    inception_score_sashimi,
    modified_inception_score,
)

EXACT = 1e-9
"""Of the script's run on double precision; slim copies of the features are exact to about 1e-13."""
SINGLE = 1e-6
"""Relative, of its run on the single precision that its classifier returns."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test runs once for each case of scores, whatever its name."""
    folder = metafunc.config.getoption("goldens") / "metrics"
    found = [Case(path) for path in sorted(folder.glob("*.json"))]
    cases = [case for case in found if "results_float64_inputs" in case.facts]
    metafunc.parametrize("case", cases, ids=[case.path.stem for case in cases])


def of(case: Case, name: str) -> np.ndarray:
    return case.arrays[name].astype(np.float64)


def scores(drawn: np.ndarray, training: np.ndarray) -> dict[str, float]:
    """By the names of the golden files."""
    return {
        "is_repo": inception_score_sashimi(drawn),
        "is_true_all": inception_score(drawn),
        "mis_repo": modified_inception_score(drawn),
        "am_repo": am_score(drawn, training),
    }


def test_the_frechet_distance_is_that_of_the_script(case):
    training, drawn = (Gaussian.of(of(case, name)) for name in ("feat_data", "feat_gen"))
    expected = case.facts["results_float64_inputs"]["fid"]
    assert frechet_distance(drawn, training) == pytest.approx(expected, abs=EXACT)
    assert frechet_distance(training, training) < SINGLE


def test_scores_of_probabilities_are_those_of_the_script_in_double_precision(case):
    found = scores(of(case, "probs_gen"), of(case, "probs_data"))
    expected = case.facts["results_float64_inputs"] | {
        "is_true_all": case.facts["results_float32_inputs"]["is_true_all"]  # computed in double precision
    }
    # The script's entropy scales each row of single-precision probabilities to sum to one.
    assert found["am_repo"] == pytest.approx(expected.pop("am_repo"), abs=1e-8)
    assert found["mis_repo"] == pytest.approx(expected["mis_repo"], abs=SINGLE)
    assert found["is_repo"] == pytest.approx(expected["is_repo"], abs=EXACT)
    assert found["is_true_all"] == pytest.approx(expected["is_true_all"], abs=EXACT)


def test_scores_of_an_embedding_are_those_of_the_script_in_single_precision(case):
    drawn = Embedding(
        features=np.zeros((len(case.arrays["probs_gen"]), 1)), probabilities=of(case, "probs_gen")
    )
    found = scores(drawn.probabilities, of(case, "probs_data"))
    expected = case.facts["results_float32_inputs"]
    for name, value in found.items():
        assert value == pytest.approx(expected[name], rel=SINGLE), name


def test_the_modified_score_of_the_first_thousand_pairs_is_that_of_the_script(case):
    drawn = of(case, "probs_gen")
    pairs = np.random.RandomState(PUBLISHED_SEED).randint(0, len(drawn), size=(PAIRS, 2))
    expected = case.facts["results_float32_inputs"]["mis_repo_n1000"]
    assert modified_inception_score(drawn, pairs[:1000]) == pytest.approx(expected, rel=SINGLE)


def test_the_script_would_be_right_along_the_classes(case):
    """Its halves with the divergence along the other axis: what `inception_score_sashimi` differs by."""
    drawn = of(case, "probs_gen")
    order = np.random.RandomState(PUBLISHED_SEED).permutation(len(drawn))
    scored, other = np.split(drawn[order], [len(order) // 2])
    value = np.exp(divergences(scored, other.mean(axis=0)).mean())
    assert value == pytest.approx(case.facts["results_float32_inputs"]["is_true_split"], rel=SINGLE)


def test_the_draws_are_those_of_the_script_where_the_full_set_records_them(case):
    if "mis_pairs" not in case.arrays:
        pytest.skip("the slim copies leave the draws out")
    clips = len(case.arrays["probs_gen"])
    legacy = np.random.RandomState
    assert (legacy(PUBLISHED_SEED).randint(0, clips, size=(PAIRS, 2)) == case.arrays["mis_pairs"]).all()
    assert (legacy(PUBLISHED_SEED).permutation(clips) == case.arrays["is_permutation"]).all()


def test_the_training_set_scores_as_in_the_script_where_the_full_set_has_its_clips(case):
    training = of(case, "probs_data")
    if len(training) == 1:
        pytest.skip("the slim copies have the mean of the training set's probabilities only")
    expected = case.facts["results_float32_inputs"]
    assert inception_score_sashimi(training) == pytest.approx(expected["is_repo_data"], rel=SINGLE)
    assert inception_score(training) == pytest.approx(expected["is_true_all_data"], rel=SINGLE)
    assert am_score(training, training) == pytest.approx(expected["am_self"], rel=SINGLE)
