"""Twenty updates of our training code follow those of the authors', number by number."""

from __future__ import annotations

import numpy as np
import torch
from golden_cases import Case, assert_close

from harness.training.config import TrainConfig
from harness.training.loss import mean_bits
from harness.training.update import Update
from models.original import config_from_original, load_original, to_original
from models.poolformer import Poolformer

SCHEDULES = {"constant": "constant", "warmup_cosine_decay": "cosine"}


def train_config(case: Case) -> TrainConfig:
    """Our settings of the case's optimiser; all of it is used."""
    given = dict(case.facts["optimiser"])
    given.pop("num_minibatches"), given.pop("batch_size")  # of the data, see `run`
    decay_steps = given.pop("cosine_decay_steps")
    config = TrainConfig(
        steps=decay_steps or case.facts["steps"],
        batch_size=1,
        learning_rate=given.pop("learning_rate"),
        schedule=SCHEDULES[given.pop("learning_rate_scheduler")],
        warmup_steps=given.pop("learning_rate_warmup_steps"),
        weight_decay=given.pop("weight_decay"),
        beta1=given.pop("b1"),
        beta2=given.pop("b2"),
        epsilon=given.pop("eps"),
        clip_norm=given.pop("grad_clip"),
        skip_norm=given.pop("skip_threshold"),
        ema_decay=given.pop("ema_rate"),
    )
    assert not given, f"settings that this test does not know: {sorted(given)}"
    return config


def run(case: Case, dtype: torch.dtype) -> dict[str, np.ndarray]:
    """Every number of the case's trace, from our training code."""
    initial = case.under("init/")
    model = Poolformer(
        config_from_original(case.facts["hyper_parameters"]), len(initial["cls_head/final/bias"])
    )
    model.to(dtype).train()
    load_original(model, initial)
    update = Update(model, train_config(case))
    parts = case.facts["optimiser"]["num_minibatches"]
    steps = []
    for tokens, lengths in zip(case.arrays["tokens"], case.arrays["lengths"], strict=True):
        batch, valid = torch.from_numpy(tokens).long(), torch.from_numpy(lengths).long()
        rows = zip(batch.chunk(parts), valid.chunk(parts), strict=True)
        losses = [mean_bits(model(part), part, part_lengths) for part, part_lengths in rows]
        steps.append(update.apply(torch.stack(losses).mean()))
    found = {
        "losses": np.array([step.loss for step in steps]),
        "grad_norms": np.array([step.gradient_norm for step in steps]),
        "learning_rates_used": np.array([step.learning_rate for step in steps]),
        "skipped": np.array([step.skipped for step in steps]),
        "adam_count": np.array(update.applied),
    }
    parameters = dict(model.named_parameters())
    moments = {name: update.optimizer.state[p] for name, p in parameters.items()}
    trees = {
        "final": parameters,
        "ema": update.average,
        "adam_mu": {name: state["exp_avg"] for name, state in moments.items()},
        "adam_nu": {name: state["exp_avg_sq"] for name, state in moments.items()},
    }
    for prefix, values in trees.items():
        for name, value in to_original(model, values).items():
            found[f"{prefix}/{name}"] = value.detach().double().numpy()
    return found


def test_the_trace_matches_in_float64(trace_case: Case) -> None:
    found = run(trace_case, torch.float64)
    not_compared = {"tokens", "lengths", "learning_rates", "losses_f32", "grad_norms_f32"}
    expected = {name for name in trace_case.arrays if not name.startswith("init/")} - not_compared
    assert found.keys() == expected
    np.testing.assert_array_equal(found["skipped"], trace_case.arrays["skipped"])
    for name in expected - {"skipped"}:
        assert_close(name, found[name], trace_case.arrays[name], relative=1e-9)


def test_losses_and_gradient_norms_match_in_float32(trace_case: Case) -> None:
    """To three times the difference between the authors' own float32 and float64.

    Not the weights: Adam divides by the gradient's own size, so that where a gradient is near zero
    its rounding error becomes a whole step.
    """
    found = run(trace_case, torch.float32)
    own = trace_case.facts["float32_vs_float64"]
    np.testing.assert_array_equal(found["skipped"], trace_case.arrays["skipped"])
    for name in ("losses", "grad_norms"):
        assert_close(name, found[name], trace_case.arrays[name], absolute=3 * own[f"{name}_max_abs"])
