"""The layers of Poolformer alone, continued from a state, with gradients of everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_cases import Case, assert_close
from torch import Tensor, nn

from harness.configuration import build
from models.embedding import SinusoidalEmbedding
from models.original import load_original, to_original
from models.pooling import LinearDownPool, LinearUpPool

Results = dict[str, np.ndarray]


def build_layer(case: Case) -> nn.Module:
    """The layer of a case, told by its arrays and hyper-parameters; the latter are all used."""
    settings = dict(case.facts["hyper_parameters"])
    weights = case.under("param/")
    if "factor" in settings:
        return _pooling(case, settings)
    width = case.arrays["x"].shape[-1]
    assert settings.pop("d_in", width) == width
    spec = {"hidden": settings.pop("d_hidden"), "normalize_input": settings.pop("input_norm")}
    if "a_logit" in weights:
        assert settings.pop("d_out") == width
        spec["name"] = "diagonal_rnn"
    else:
        spec["complex"] = not settings.pop("only_real")
        spec["c"] = -settings.pop("log_a_scale")
        blocks = settings.pop("n_diag_blocks")
        gated = any(name.startswith("BlockDiagonalLinear") for name in weights)
        spec |= {"name": "rg_lru", "blocks": blocks} if gated else {"name": "lru"}
    assert not settings, f"hyper-parameters that this test does not know: {sorted(settings)}"
    return build("mixers", spec, width=width)


def _pooling(case: Case, settings: dict) -> nn.Module:
    factor, growth = settings.pop("factor"), settings.pop("factor_feature")
    depthwise = settings.pop("conv_pooling")
    assert not settings, f"hyper-parameters that this test does not know: {sorted(settings)}"
    x, y = case.arrays["x"], case.arrays["output"]
    if y.shape[1] < x.shape[1]:
        width = x.shape[-1]
        return LinearDownPool(width, width * growth, factor=factor, groups=width if depthwise else 1)
    width = y.shape[-1]
    groups = width if depthwise else 1
    return LinearUpPool(width, width * growth, factor=factor, groups=groups, output_scale=1.0)


def results(case: Case, layer: nn.Module, dtype: torch.dtype) -> Results:
    """Output, new state and all gradients, under the names of the case's arrays."""
    layer.to(dtype)
    load_original(layer, case.under("param/"))
    inputs = {
        name: torch.from_numpy(case.arrays[name]).to(dtype).requires_grad_()
        for name in ("x", "h_prev", "state")
        if name in case.arrays
    }
    found: dict[str, Tensor] = {}
    if isinstance(layer, LinearDownPool):
        found["output"] = layer(inputs["x"])
    elif isinstance(layer, LinearUpPool):
        found["output"], found["new_state"] = layer.resume(inputs["x"], inputs["state"])
    else:
        found["output"], found["new_state"] = layer.resume(inputs["x"], inputs["h_prev"])
    loss = sum((found[n] * torch.from_numpy(case.arrays[f"cotangent_{n}"]).to(dtype)).sum() for n in found)
    loss.backward()
    gradients = {name: p.grad for name, p in layer.named_parameters()}
    found |= {f"grad/{name}": grad for name, grad in to_original(layer, gradients).items()}
    found |= {f"grad_input/{name}": value.grad for name, value in inputs.items()}
    return {name: value.detach().double().numpy() for name, value in found.items()}


def test_outputs_states_and_gradients_match_in_float64(layer_case: Case) -> None:
    found = results(layer_case, build_layer(layer_case), torch.float64)
    kinds = ("output", "new_state", "grad/", "grad_input/")
    expected = {n for n in layer_case.arrays if n.startswith(kinds) and not n.endswith("_f32")}
    assert found.keys() == expected
    for name, value in found.items():
        assert_close(name, value, layer_case.arrays[name], relative=1e-9)


def test_outputs_states_and_gradients_match_in_float32(layer_case: Case) -> None:
    """To three times the difference between the authors' own float32 and float64."""
    found = results(layer_case, build_layer(layer_case), torch.float32)
    own = layer_case.facts["float32_vs_float64"]
    for name, value in found.items():
        if name.startswith("grad"):
            bounds = {"relative": 3 * own["worst_grad_rel_to_max"][1]}
        else:
            bounds = {"absolute": 3 * own["output_max_abs"]}
        assert_close(name, value, layer_case.arrays[name], **bounds)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_the_sinusoidal_embedding_matches(embedding_case: Case, dtype: torch.dtype) -> None:
    """In float32 more closely than the authors' own, whose angles are rounded."""
    own = embedding_case.facts["float32_vs_float64_max_abs"]
    tables = {name: embedding_case.arrays[name] for name in own}
    for name, table in tables.items():
        vocab_size, width = table.shape
        found = SinusoidalEmbedding(vocab_size, width).to(dtype)(torch.arange(vocab_size))
        bound = 1e-9 if dtype == torch.float64 else min(own[name], 1e-7)
        assert_close(name, found.double().numpy(), table, absolute=bound)
