"""`python -m benchmarks.quality_ladder`: do the quality metrics order sounds as an ear would?

Clips that get worse step by step, scored against the training set by the data set's own classifier: the
training set itself (its distance must vanish), the test set, then the test clips quantised more and more
coarsely, in noise, played backwards; one class alone, one clip over and over; noise and silence. All steps
but the first have as many clips as the test set, because a Fréchet distance grows as clips get fewer.

The test set's inception score is compared with what the classifier's accuracy a leaves of its C classes,
C a: a clip that is misheard is as little use to the score as one that is not heard at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer

from benchmarks import options, output
from benchmarks.circumstances import circumstances
from benchmarks.messages import say
from harness import configuration
from harness.data.quantisation import Quantiser, decode, encode
from harness.evaluation.against import data_of
from harness.evaluation.classifier.extractor import Extractor, extractor_for
from harness.evaluation.classifier.labelled import Labelled
from harness.evaluation.quality.embedding import Embedding
from harness.evaluation.quality.scores import score
from harness.suite.source import read_scalar
from harness.training.seeds import derive_seed

CHUNK = 512
"""Clips decoded and classified at once."""

SHOWN = (
    *("name", "accuracy", "fid", "fid_infinity", "kid", "inception_score"),
    *("modified_inception_score", "am_score", "ndb", "precision", "recall"),
)
HEADINGS = {
    "accuracy": "right",
    "fid_infinity": "FID∞",
    "fid": "FID",
    "kid": "KID",
    "inception_score": "IS",
    "modified_inception_score": "mIS",
    "am_score": "AM",
    "ndb": "NDB",
}

app = options.new_app()

Rung = tuple[str, np.ndarray, np.ndarray | None]
"""Name, waveforms Float32[N, L], and labels Int64[N] where an ear would still hear them."""


@app.command()
def quality_ladder(
    data: Annotated[
        str, typer.Option("--data", "-d", help="A data set with labels: name or mapping.")
    ] = "fsdd",
    classifier: Annotated[
        str, typer.Option("--classifier", help="small, resnext, settings of one, or a file of weights.")
    ] = "small",
    resamples: Annotated[int, typer.Option("--resamples", min=0, help="Of the bootstrap.")] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Of noise and of drawn clips.")] = 0,
    device: options.DeviceOption = "cpu",
    csv: options.OutputOption = None,
) -> None:
    """Scores of clips that get worse step by step, and the inception score of the test set.

    Example: python -m benchmarks.quality_ladder --data "{name: fsdd, split: speakers}" --output ladder.csv
    """
    target = torch.device(device)
    labelled = Labelled.of(configuration.build("datasets", data_of(data)))
    extractor = extractor_for(labelled.dataset, read_scalar(classifier), target, _progress())
    assert extractor.accuracy is not None
    say(f"{extractor.name} {extractor.sha256[:12]}: {extractor.accuracy:.1%} of {extractor.held_out} right")
    train, labels = _embedded(labelled, "train", extractor)
    rows = [row("training set", train, labels, train, resamples)]
    for name, waveforms, heard in rungs(labelled, seed):
        say(f"scoring: {name}")
        embedding = extractor.embed(waveforms, labelled.sample_rate)
        rows.append(row(name, embedding, heard, train, resamples))
    described = {
        "data": data,
        "extractor": f"{extractor.name} {extractor.sha256}",
        "extractor_accuracy": extractor.accuracy,
        "extractor_too_weak": extractor.too_weak,
    }
    table = output.frame([{**described, **each} for each in rows], circumstances("quality_ladder", target))
    title = f"{labelled.count('test')} clips of {labelled.name} each against its {len(train)} training clips"
    output.show_plain(table, title, SHOWN, HEADINGS)
    _conclude(table, labelled.classes)
    output.write(table, csv)


def rungs(labelled: Labelled, seed: int) -> Iterator[Rung]:
    """From good to bad; each has as many clips as the test set."""
    draw = np.random.default_rng(derive_seed("quality ladder", seed))
    count = labelled.count("test")
    test, labels = labelled.read("test", np.arange(count))
    train_labels = np.asarray(labelled.dataset.splits["train"].labels)

    def of_training(candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return labelled.read("train", np.sort(draw.choice(candidates, count, len(candidates) < count)))

    yield "training clips", *of_training(np.arange(labelled.count("train")))
    yield "test set", test, labels
    for bits in (8, 6, 4, 2):
        yield f"test, mu-law of {bits} bits", requantised(test, "mu_law", bits), labels
    yield "test, linear 8 bits", requantised(test, "linear", 8), labels
    for decibels in (40, 20, 0):
        yield f"test, noise {decibels} dB below", with_noise(test, decibels, draw), labels
    yield "test, backwards", test[:, ::-1].copy(), None
    yield "one class", *of_training(np.flatnonzero(train_labels == train_labels[0]))
    yield "one clip repeated", np.repeat(test[:1], count, axis=0), np.repeat(labels[:1], count)
    yield "white noise", draw.standard_normal(test.shape).astype(np.float32) / 4, None
    yield "silence", np.zeros_like(test), None


def requantised(waveforms: np.ndarray, quantiser: Quantiser, bits: int) -> np.ndarray:
    """Through tokens of so many bits and back; most data sets went through mu-law of 8 bits already."""
    tokens = encode(waveforms, quantiser=quantiser, bits=bits)
    return decode(tokens, quantiser=quantiser, bits=bits)


def with_noise(waveforms: np.ndarray, decibels: float, draw: np.random.Generator) -> np.ndarray:
    """White noise so far below each clip's own mean power."""
    loudness = np.sqrt(np.square(waveforms).mean(axis=1, keepdims=True))
    noise = draw.standard_normal(waveforms.shape).astype(np.float32)
    return waveforms + np.float32(10 ** (-decibels / 20)) * loudness * noise


def row(
    name: str, embedding: Embedding, labels: np.ndarray | None, train: Embedding, resamples: int
) -> dict[str, Any]:
    right = None if labels is None else float((embedding.probabilities.argmax(axis=1) == labels).mean())
    scores = score(embedding, train, seed=0, resamples=resamples)
    return {
        "name": name,
        "what": "quality",
        "status": "ok",
        "clips": len(embedding),
        "accuracy": right,
        **scores,
    }


def _embedded(labelled: Labelled, split: str, extractor: Extractor) -> tuple[Embedding, np.ndarray]:
    """A whole split, a few clips at a time: it may not fit in memory."""
    parts, labels, count = [], [], labelled.count(split)
    for start in range(0, count, CHUNK):
        waveforms, found = labelled.read(split, np.arange(start, min(start + CHUNK, count)))
        parts.append(extractor.embed(waveforms, labelled.sample_rate))
        labels.append(found)
    embedding = Embedding(
        features=np.concatenate([part.features for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
    )
    return embedding, np.concatenate(labels)


def _conclude(table: pd.DataFrame, classes: int) -> None:
    by_name = table.set_index("name")
    itself, test = by_name.loc["training set"], by_name.loc["test set"]
    verdict = "below" if abs(itself["fid"]) < 1e-6 else "NOT below"
    say(f"FID(train, train) = {itself['fid']:.1e}, {verdict} 1e-6")
    for name, fid in by_name["fid"].items():
        if name not in {"training set", "training clips", "test set"}:
            say(f"FID({name}) = {fid / test['fid']:.3g} times that of the test set")
    ceiling, found = classes * test["accuracy"], test["inception_score"]
    say(f"IS(test) = {found:.3f}, {found / ceiling:.1%} of {classes} classes x accuracy = {ceiling:.3f}")


def _progress() -> Callable[[float, str], None]:
    """A line whenever another tenth is done."""
    said = -1

    def progress(fraction: float, text: str) -> None:
        nonlocal said
        if int(10 * fraction) != said:
            said = int(10 * fraction)
            say(text)

    return progress


if __name__ == "__main__":
    options.main(app, "quality_ladder")
