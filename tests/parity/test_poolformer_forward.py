"""A whole Poolformer with the authors' weights computes what their code computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_cases import Case, assert_close
from torch import Tensor

from harness.training.loss import mean_bits, token_bits, valid
from models.original import config_from_original, load_original, to_original
from models.poolformer import Poolformer

Results = dict[str, np.ndarray]


def build(case: Case, dtype: torch.dtype) -> Poolformer:
    """The case's model with its weights, dropout off."""
    weights = {
        name: array
        for name, array in case.arrays.items()
        if "/" in name and not name.startswith(("grad/", "act/")) and not name.endswith("_f32")
    }
    vocab_size = len(weights["cls_head/final/bias"])
    model = Poolformer(config_from_original(case.facts["hyper_parameters"]), vocab_size)
    model.to(dtype).eval()
    load_original(model, weights)
    return model


def results(case: Case, dtype: torch.dtype) -> Results:
    """Logits, loss in bits, each row's bits and all gradients, under the names of the case's arrays.

    Losses are summed in float64 whatever the model's precision: what is compared is the model.
    """
    model = build(case, dtype)
    tokens = torch.from_numpy(case.arrays["tokens"]).long()
    lengths = torch.from_numpy(case.arrays["lengths"]).long()
    logits = model(tokens)
    loss = mean_bits(logits.double(), tokens, lengths)
    loss.backward()
    rows = (token_bits(logits.double(), tokens) * valid(tokens, lengths)).sum(1) / lengths
    gradients: dict[str, Tensor] = {name: p.grad for name, p in model.named_parameters()}
    found = {"logits": logits, "loss": loss, "nll_bits": rows}
    found |= {f"grad/{name}": grad for name, grad in to_original(model, gradients).items()}
    return {name: value.detach().double().numpy() for name, value in found.items()}


def test_the_model_has_as_many_parameters(forward_case: Case) -> None:
    model = build(forward_case, torch.float32)
    assert sum(p.numel() for p in model.parameters()) == forward_case.facts["parameter_count"]


def test_logits_losses_and_gradients_match_in_float64(forward_case: Case) -> None:
    found = results(forward_case, torch.float64)
    expected = {name for name in forward_case.arrays if name.startswith("grad/")}
    assert expected == {name for name in found if name.startswith("grad/")}
    for name, value in found.items():
        assert_close(name, value, forward_case.arrays[name], relative=1e-9)


def test_logits_losses_and_gradients_match_in_float32(forward_case: Case) -> None:
    """To three times the difference between the authors' own float32 and float64."""
    found = results(forward_case, torch.float32)
    own = forward_case.facts["float32_vs_float64"]
    absolute = {name: 3 * own[f"{name}_{kind}"] for name, kind in _MEASURED.items()}
    gradient = 3 * own["worst_grad_rel_to_max"][1]
    for name, value in found.items():
        bounds = {"absolute": absolute[name]} if name in absolute else {"relative": gradient}
        assert_close(name, value, forward_case.arrays[name], **bounds)


_MEASURED = {"logits": "max_abs", "nll_bits": "max_abs", "loss": "abs"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_stepping_gives_the_same_logits(forward_case: Case, dtype: torch.dtype) -> None:
    model = build(forward_case, dtype)
    tokens = torch.from_numpy(forward_case.arrays["tokens"]).long()
    state, logits = model.initial_state(len(tokens)), []
    with torch.no_grad():
        for t in range(tokens.shape[1]):
            out, state = model.step(tokens[:, t - 1] if t else None, state)
            logits.append(out)
    own = forward_case.facts["float32_vs_float64"]["logits_max_abs"]
    found = torch.stack(logits, dim=1).double().numpy()
    bound = 1e-9 if dtype == torch.float64 else 3 * own
    assert_close("logits", found, forward_case.arrays["logits"], absolute=bound)
