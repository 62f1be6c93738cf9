"""`python -m benchmarks.quality_scores`: what the scores of drawn clips cost, and how far to trust them.

cpu         seconds of each score on one core, of as many made-up drawn and training clips as asked for
bias        of the Fréchet distance and of its extrapolation, where the truth is known: Gaussian drawn
            clips whose mean and covariance are given, against one finite training set
coverage    of the 95 % intervals, over independent draws from one distribution: how often an interval
            holds the mean score of all draws, by our linear resampling and, of the Fréchet distance, by a
            bootstrap that repeats clips

Shapes: N drawn clips, M training clips, F features.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks import options, output
from benchmarks.circumstances import circumstances
from benchmarks.messages import say
from harness.evaluation.quality.bins import different_bins
from harness.evaluation.quality.bootstrap import interval, resample_weights
from harness.evaluation.quality.embedding import Embedding
from harness.evaluation.quality.frechet import Gaussian, extrapolated, frechet_distance, influences
from harness.evaluation.quality.inception import inception_score, resampled_inception_scores
from harness.evaluation.quality.kernel_distance import kernel_distance
from harness.evaluation.quality.manifold import manifold_scores
from harness.evaluation.quality.scores import score

CLASSES = 10
FACTORS = 20
"""Directions that most of the variance of the made-up features lies in."""
SHOWN = (
    "name",
    "clips",
    "training_clips",
    "features",
    "cpu_seconds",
    "truth",
    "mean",
    "deviation",
    "coverage",
)

app = options.new_app()


@app.command()
def quality_scores(
    clips: Annotated[int, typer.Option("--clips", min=2, help="Drawn clips.")] = 1000,
    training_clips: Annotated[int, typer.Option("--training-clips", min=50)] = 2700,
    features: Annotated[int, typer.Option("--features", min=1)] = 1024,
    draws: Annotated[
        int, typer.Option("--draws", min=10, help="Independent draws behind bias and coverage.")
    ] = 200,
    path: options.OutputOption = None,
) -> None:
    """Cost, bias and coverage of the scores of drawn clips.

    Example: python -m benchmarks.quality_scores --clips 1000 --output quality_scores.csv
    """
    device = options.device("cpu")
    with options.threads(1):
        rows = [
            {"name": name, "what": what, "status": "ok", "threads": 1, **values}
            for what, found in {
                "cpu": costs(clips, training_clips, features),
                "bias": biases(draws),
                "coverage": coverages(draws),
            }.items()
            for name, values in found
        ]
    table = output.frame(rows, circumstances("quality_scores", device))
    for parts, part in output.groups(table, ["what"]):
        output.show_plain(part, parts["what"], SHOWN)
    output.write(table, path)


Rows = Iterator[tuple[str, dict[str, Any]]]


def costs(clips: int, training_clips: int, features: int) -> Rows:
    """Seconds of each score on one core, whatever else runs on the machine, and of all with 200 resamples."""
    drawn, training = (made_up(n, features, shift) for n, shift in ((clips, 0.05), (training_clips, 0.0)))
    x, y = drawn.features, training.features
    reference = Gaussian.of(y)
    rng = np.random.default_rng(0)
    timed: dict[str, Callable[[], object]] = {
        "fid": lambda: frechet_distance(Gaussian.of(x), Gaussian.of(y)),
        "interval of fid": lambda: influences(x, reference),
        "fid_infinity": lambda: extrapolated(x, reference, rng),
        "kid": lambda: kernel_distance(x, y, rng),
        "ndb": lambda: different_bins(x, y, rng),
        "precision, recall, density, coverage": lambda: manifold_scores(x, y, rng),
        "all": lambda: score(drawn, training, seed=0),
    }
    for name, run in timed.items():
        say(f"cpu: {name}")
        start = time.process_time()
        run()
        yield name, {**sizes(clips, training_clips, features), "cpu_seconds": time.process_time() - start}


def biases(draws: int) -> Rows:
    """Of Gaussian clips with every feature of equal variance, the worst case, and with few strong ones."""
    features = 64
    for decay, spectrum in ((0.0, "equal variances"), (4.0, "decaying variances")):
        for clips in (64, 192, 640):
            say(f"bias: {clips} clips, {spectrum}")
            rng = np.random.default_rng(0)
            scale = np.exp(-decay * np.arange(features) / features)
            mixing = np.eye(features) + 0.3 / np.sqrt(features) * rng.normal(size=(features, features))
            root = scale[:, None] * mixing
            reference = Gaussian.of(rng.normal(size=(1000, features)) * scale)
            truth = frechet_distance(Gaussian(mean=np.full(features, 0.1), factor=root), reference)
            sets = [0.1 + rng.normal(size=(clips, features)) @ root for _ in range(draws)]
            for name, found in {
                "fid": [frechet_distance(Gaussian.of(x), reference) for x in sets],
                "fid_infinity": [extrapolated(x, reference, rng) for x in sets],
            }.items():
                values = {"truth": truth, "mean": float(np.mean(found)), "deviation": float(np.std(found))}
                yield f"{name}, {spectrum}", {**sizes(clips, 1000, features), **values}


def coverages(draws: int) -> Rows:
    """Of intervals of scores of heavy-tailed features and of lopsided classes."""
    training = 1000
    for clips, features in ((100, 100), (200, 50), (500, 50)):
        say(f"coverage: {clips} clips, {features} features")
        rng = np.random.default_rng(1)
        scale = np.exp(-3 * np.arange(features) / features)
        reference = Gaussian.of(rng.normal(size=(training, features)) * scale)
        sets = [
            0.2 + rng.gamma(4.0, 0.25, size=(clips, 1)) * rng.normal(size=(clips, features)) * scale
            for _ in range(draws)
        ]
        found = np.array([frechet_distance(Gaussian.of(x), reference) for x in sets])
        linear = [
            value + (resample_weights(clips, 200, seed) - 1) @ influences(x, reference)
            for seed, (x, value) in enumerate(zip(sets, found, strict=True))
        ]
        repeated = [_repeated(x, reference, seed) for seed, x in enumerate(sets)]
        for name, resampled in {"fid, ours": linear, "fid, by repeating clips": repeated}.items():
            yield name, {**sizes(clips, training, features), **_covered(found, resampled)}
        probabilities = [_lopsided(clips, np.random.default_rng(seed)) for seed in range(draws)]
        found = np.array([inception_score(p) for p in probabilities])
        scores = [
            resampled_inception_scores(p, resample_weights(clips, 200, seed))
            for seed, p in enumerate(probabilities)
        ]
        yield "inception_score, ours", {"clips": clips, **_covered(found, scores)}


def _repeated(x: np.ndarray, reference: Gaussian, seed: int, resamples: int = 50) -> np.ndarray:
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(x), size=(resamples, len(x)))
    return np.array([frechet_distance(Gaussian.of(x[some]), reference) for some in drawn])


def _covered(found: np.ndarray, resampled: list[np.ndarray]) -> dict[str, float]:
    expected = float(found.mean())
    ends = [interval(value, values) for value, values in zip(found, resampled, strict=True)]
    share = float(np.mean([low <= expected <= high for low, high in ends]))
    return {"mean": expected, "deviation": float(found.std(ddof=1)), "coverage": share}


def _lopsided(clips: int, rng: np.random.Generator) -> np.ndarray:
    """Probabilities of clips of which each class has half as many as the one before."""
    labels = np.minimum(rng.geometric(0.5, size=clips) - 1, CLASSES - 1)
    logits = rng.normal(size=(clips, CLASSES))
    logits[np.arange(clips), labels] += 4
    likely = np.exp(logits)
    return likely / likely.sum(axis=1, keepdims=True)


def made_up(clips: int, features: int, shift: float) -> Embedding:
    """Rectified features with most of their variance in a few directions."""
    rng = np.random.default_rng(clips)
    directions = np.random.default_rng(0).normal(size=(FACTORS, features))
    signal = 0.3 * rng.normal(size=(clips, FACTORS)) @ directions
    noise = 0.2 * rng.normal(size=(clips, features))
    return Embedding(features=np.maximum(signal + noise + shift, 0), probabilities=_lopsided(clips, rng))


def sizes(clips: int, training_clips: int, features: int) -> dict[str, int]:
    return {"clips": clips, "training_clips": training_clips, "features": features}


if __name__ == "__main__":
    options.main(app, "quality_scores")
