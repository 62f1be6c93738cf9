"""What a classifier says of clips: a feature vector and class probabilities each.

Shapes: N clips, F features, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.errors import HarnessError

ROUNDING = 1e-3
"""How far a row of probabilities may be from summing to one: a softmax in half precision is so far."""


class QualityError(HarnessError):
    """Clips that cannot be scored."""


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Features and probabilities of the same clips in the same order, in double precision.

    `probabilities` are divided by their sums, so that rows in single precision sum to one.
    Raises: QualityError for anything that no classifier in working order returns.
    """

    features: np.ndarray  # Float64[N, F], before the classifier's last layer
    probabilities: np.ndarray  # Float64[N, C]

    def __post_init__(self) -> None:
        features = checked("features", self.features)
        probabilities = checked("probabilities", self.probabilities)
        if len(features) != len(probabilities):
            raise QualityError(
                f"features of {len(features)} clips but probabilities of {len(probabilities)}: "
                "both must be of the same clips"
            )
        sums = probabilities.sum(axis=1, keepdims=True)
        if (probabilities < 0).any() or (np.abs(sums - 1) > ROUNDING).any():
            raise QualityError("the class probabilities of each clip must be at least 0 and sum to 1")
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "probabilities", probabilities / sums)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, clips: np.ndarray | slice) -> Embedding:
        """Some of the clips: by indices, a mask or a slice."""
        return Embedding(features=self.features[clips], probabilities=self.probabilities[clips])


def checked(name: str, values: np.ndarray) -> np.ndarray:
    """A matrix, a row a clip, in double precision.

    Raises: QualityError for another shape, for no clips, and for values that are not finite.
    """
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise QualityError(f"{name} must be a matrix with a row for each clip, got shape {matrix.shape}")
    wrong = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(wrong):
        raise QualityError(
            f"{name} of {len(wrong)} of {len(matrix)} clips, the first of them number {wrong[0]}, are not "
            "finite: the clips or the classifier's weights are damaged"
        )
    return matrix
