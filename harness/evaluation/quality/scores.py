"""Every quality number of drawn clips against the training set, as columns of a table.

Each is defined in a file of its own: `frechet`, `kernel_distance`, `inception`, `bins`, `manifold`;
`bootstrap` says what the intervals cover.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from harness.contracts import Column
from harness.evaluation.quality.bins import BINS, different_bins
from harness.evaluation.quality.bootstrap import interval, resample_weights
from harness.evaluation.quality.embedding import Embedding, QualityError
from harness.evaluation.quality.frechet import (
    FEWEST_TO_EXTRAPOLATE,
    Gaussian,
    extrapolated,
    frechet_distance,
    influences,
)
from harness.evaluation.quality.inception import (
    am_score,
    inception_score,
    inception_score_sashimi,
    modified_inception_score,
    resampled_inception_scores,
)
from harness.evaluation.quality.kernel_distance import kernel_distance
from harness.evaluation.quality.manifold import NEIGHBOURS, NEIGHBOURS_OF_DENSITY, manifold_scores

COLUMNS: Mapping[str, Column] = {
    "fid": Column(
        description="Fréchet distance of the classifier's features to the training set's; "
        "the fewer clips, the larger",
        better="lower",
    ),
    "fid_low": Column(description="lower end of fid's 95 % bootstrap interval over drawn clips"),
    "fid_high": Column(description="upper end of fid's 95 % bootstrap interval over drawn clips"),
    "fid_infinity": Column(
        description="fid extrapolated to infinitely many drawn clips, linearly in 1/clips", better="lower"
    ),
    "kid": Column(
        description="kernel distance (squared MMD, cubic kernel) to the training set, without bias",
        better="lower",
    ),
    "inception_score": Column(description="inception score as it is defined", better="higher"),
    "inception_score_low": Column(
        description="lower end of inception_score's 95 % bootstrap interval over drawn clips"
    ),
    "inception_score_high": Column(
        description="upper end of inception_score's 95 % bootstrap interval over drawn clips"
    ),
    "inception_score_sashimi": Column(
        description="what the published SC09 script calls inception score; not the definition, and it can "
        "exceed the number of classes",
        better="higher",
    ),
    "modified_inception_score": Column(
        description="exp of the mean divergence between 10,000 random pairs of clips' class probabilities",
        better="higher",
    ),
    "am_score": Column(
        description="divergence of the classes from the training set's, plus the mean entropy of a clip's",
        unit="nats",
        better="lower",
    ),
    "ndb": Column(
        description="share of 50 bins of the training set whose share of drawn clips differs significantly",
        better="lower",
    ),
    "precision": Column(description="share of drawn clips near the training set's manifold", better="higher"),
    "recall": Column(description="share of training clips near the drawn clips' manifold", better="higher"),
    "density": Column(
        description="how many training neighbourhoods hold a drawn clip, of 5", better="higher"
    ),
    "coverage": Column(
        description="share of training clips whose neighbourhood holds a drawn clip", better="higher"
    ),
}

# A clip has no k-th neighbour among k clips.
NEEDS: Mapping[str, str] = {
    "fid_infinity": f"{FEWEST_TO_EXTRAPOLATE} scored clips",
    "ndb": f"{BINS} different training clips",
    "precision": f"{NEIGHBOURS + 1} training clips",
    "recall": f"{NEIGHBOURS + 1} scored clips",
    "density": f"{NEIGHBOURS_OF_DENSITY + 1} training clips",
    "coverage": f"{NEIGHBOURS_OF_DENSITY + 1} training clips",
}
"""What a score needs to be a number at all, beyond the two clips of each set that all need."""


def score(generated: Embedding, reference: Embedding, *, seed: int, resamples: int = 200) -> dict[str, float]:
    """Values for all `COLUMNS`; NaN where a number is not defined for so few clips.

    `reference` is the training set. `seed` decides the resamples, the bins, the subsets of the
    extrapolation and, of sets above 10,000 clips, those that are compared in pairs; what is defined by the
    published script has its seed.
    Raises: QualityError for fewer than two clips, or for embeddings of different classifiers.
    """
    check_alike(generated, reference)
    return (
        _frechet(generated.features, reference.features, seed, resamples)
        | _inception(generated.probabilities, reference.probabilities, seed, resamples)
        | _neighbourhoods(generated.features, reference.features, seed)
    )


def undefined(scores: Mapping[str, float]) -> dict[str, str]:
    """Score that is no number -> what it needs. Intervals are missing by choice of `resamples` alone."""
    return {name: needed for name, needed in NEEDS.items() if math.isnan(scores[name])}


def check_alike(generated: Embedding, reference: Embedding) -> None:
    """Raises: QualityError."""
    for name, embedding in {"drawn clips": generated, "training set": reference}.items():
        if len(embedding) < 2:
            raise QualityError(f"scores need at least 2 clips; the {name} has {len(embedding)}")
    sizes = [(e.features.shape[1], e.probabilities.shape[1]) for e in (generated, reference)]
    if sizes[0] != sizes[1]:
        raise QualityError(
            "drawn clips and training set were embedded by different classifiers: "
            + " against ".join(f"{features} features and {classes} classes" for features, classes in sizes)
        )


def _frechet(generated: np.ndarray, reference: np.ndarray, seed: int, resamples: int) -> dict[str, float]:
    training = Gaussian.of(reference)
    fid = frechet_distance(Gaussian.of(generated), training)
    weights = resample_weights(len(generated), resamples, seed)
    low, high = interval(fid, fid + (weights - 1) @ influences(generated, training), least=0.0)
    return {
        "fid": fid,
        "fid_low": low,
        "fid_high": high,
        "fid_infinity": extrapolated(generated, training, np.random.default_rng(seed)),
    }


def _inception(generated: np.ndarray, reference: np.ndarray, seed: int, resamples: int) -> dict[str, float]:
    value = inception_score(generated)
    weights = resample_weights(len(generated), resamples, seed)
    low, high = interval(value, resampled_inception_scores(generated, weights), least=1.0)
    return {
        "inception_score": value,
        "inception_score_low": low,
        "inception_score_high": high,
        "inception_score_sashimi": inception_score_sashimi(generated),
        "modified_inception_score": modified_inception_score(generated),
        "am_score": am_score(generated, reference),
    }


def _neighbourhoods(generated: np.ndarray, reference: np.ndarray, seed: int) -> dict[str, float]:
    return {
        "kid": kernel_distance(generated, reference, np.random.default_rng(seed)),
        "ndb": different_bins(generated, reference, np.random.default_rng(seed)),
    } | manifold_scores(generated, reference, np.random.default_rng(seed))
