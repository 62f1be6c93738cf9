"""Models whose training is timed, and one step of it: forward, backward, AdamW, averaged weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.agreement import deviation
from benchmarks.contest import Entry, median, results
from harness import configuration
from harness.errors import HarnessError
from harness.training.average import evaluating
from harness.training.config import TrainConfig
from harness.training.precision import Precision, autocast, precision
from harness.training.seeds import seed_everything
from harness.training.step import training_step
from harness.training.update import Update

VOCABULARY = 256

Spec = Mapping[str, Any]
"""A model as a suite writes it: its name and options."""

REFERENCE: Spec = {
    "name": "poolformer",
    "width": 64,
    "layers": 2,
    "pooling": [2, 4, 4, 5],
    "mixer": {"name": "rg_lru", "hidden": 256, "blocks": 32},
    "dropout": 0.0,
}
REFERENCE_PARAMETERS = 1_263_360
"""Of REFERENCE: a number that others have timed, so it must not drift."""

MODELS: Mapping[str, Spec] = {
    "poolformer": REFERENCE,
    "unpooled": {**REFERENCE, "pooling": [], "layers": 18},
    "factors of 1": {**REFERENCE, "pooling": [1, 1, 1, 1]},
    "transformer": {"name": "transformer", "width": 128, "layers": 6, "heads": 4},
}
"""Poolformer; as many of its layers in one stack at the sample rate; with levels that pool nothing;
and a transformer with as many parameters."""

TOLERANCE: Mapping[Precision, float] = {"float32": 1e-4, "tf32": 2e-2, "bfloat16": 2e-1}
"""Largest error of a logit, relative to the largest."""


def model_of(spec: Spec, device: torch.device) -> nn.Module:
    seed_everything("initialisation", 0)
    return configuration.build("models", spec, vocab_size=VOCABULARY).to(device)


def specs_of(texts: Iterable[str]) -> dict[str, Spec]:
    """What is asked for by --model, by label.

    A text is a key of MODELS, a registered model's name, or a mapping, which may have a label of
    its own in front: ``small={name: poolformer, width: 32}``.

    Raises: HarnessError for what cannot be built, before anything is measured.
    """
    found: dict[str, Spec] = {}
    for text in texts:
        label, spec = _labelled(text)
        if label in found:
            raise HarnessError(f"two models are called {label!r}; write --model 'LABEL={{name: …}}'")
        configuration.resolve("models", spec)
        found[label] = spec
    return found


def _labelled(text: str) -> tuple[str, Spec]:
    import yaml

    if text in MODELS:
        return text, MODELS[text]
    label, equals, mapping = text.partition("={")
    try:
        spec = yaml.safe_load("{" + mapping if equals else text)
    except yaml.YAMLError as error:
        raise HarnessError(f"--model {text!r} is neither a name nor a mapping: {error}") from None
    if not isinstance(spec, dict):
        return text, {"name": text}
    return label if equals else str(spec.get("name", text)), spec


def random_clips(batch: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens Long[B, L] and their true lengths: all whole."""
    draws = torch.Generator().manual_seed(0)
    tokens = torch.randint(VOCABULARY, (batch, length), generator=draws).to(device)
    return tokens, torch.full((batch,), length, device=device)


def step_of(model: nn.Module, clips: tuple[Tensor, Tensor], kind: Precision) -> Callable[[], object]:
    """One training step on the same clips again and again; makes the optimiser's state."""
    update = Update(model.train(), TrainConfig(batch_size=len(clips[0]), precision=kind))
    return lambda: training_step(update, *clips)


def results_with_tokens(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The results of a contest of training steps, with the tokens of a batch a second of those timed."""
    rows = results(entries)
    for entry, row in zip(entries, rows, strict=True):
        if len(entry.seconds) and entry.status == "ok":
            row["tokens_per_second"] = row["batch"] * row["length"] / median(entry)
    return rows


@torch.no_grad()
def error_of(candidate: nn.Module, model: nn.Module, tokens: Tensor, kind: Precision) -> float:
    """Of the first clip's logits without dropout, against the uncompiled model in double precision."""
    with evaluating(candidate), precision(kind), autocast(kind, tokens.device):
        found = candidate(tokens)[0]
    return deviation(found, copy.deepcopy(model).double().eval()(tokens[:1])[0])
