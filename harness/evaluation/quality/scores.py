"""Every quality number of drawn clips against the training set, as columns of a table.

Each is defined in a file of its own: `frechet`, `kernel_distance`, `inception`, `bins`, `manifold`;
`bootstrap` says what the intervals cover.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.contracts import Column
from harness.evaluation.quality.embedding import Embedding

COLUMNS: Mapping[str, Column] = {
    "fid": Column(
        description="Fréchet distance of the classifier's features to the training set's; grows as clips get fewer",
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


def score(generated: Embedding, reference: Embedding, *, seed: int, resamples: int = 200) -> dict[str, float]:
    """Values for all `COLUMNS`; NaN where a number is not defined for so few clips.

    `reference` is the training set. `seed` decides the resamples, the bins and, of sets too large to
    compare in pairs, the clips that are; the published scores have the published script's seed.
    Raises: QualityError for fewer than two clips or for features of another classifier.
    """
    raise NotImplementedError
