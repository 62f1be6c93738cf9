"""The RG-LRU, its recurrent block, Hawk's residual block and Griffin match recurrentgemma, with gradients.

A start of a document is `segment_pos` 0. In step mode recurrentgemma's convolution looks across a start
inside a row, ours does not: `output_step` is compared where a row has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_cases import Case, assert_close
from torch import Tensor, nn

from baselines.griffin import Griffin, GriffinConfig, HawkConfig, ResidualBlock
from models.mixers.recurrent_block import (
    RealGatedLRU,
    RecurrentBlock,
    RecurrentBlockConfig,
    RecurrentState,
    load_original,
)

Results = dict[str, np.ndarray]
LAYERS = ("RGLRU", "RecurrentBlock", "ResidualBlock")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder: Path = metafunc.config.getoption("goldens") / "rglru"
    cases = [Case(path) for path in sorted(folder.glob("*.json"))]
    for fixture, modules in (("layer_of", LAYERS), ("model_of", ("Griffin",))):
        if fixture in metafunc.fixturenames:
            found = [case for case in cases if case.facts["module"] in modules]
            metafunc.parametrize(fixture, found, ids=[case.path.stem for case in found])


def test_every_case_is_of_a_module_that_is_tested(goldens: Path) -> None:
    modules = {Case(path).facts["module"] for path in (goldens / "rglru").glob("*.json")}
    assert modules <= {*LAYERS, "Griffin"}


def settings_of(case: Case) -> dict[str, Any]:
    """The case's hyper-parameters without what is no choice of ours."""
    settings = dict(case.facts["hyper_parameters"])
    settings.pop("batch"), settings.pop("length")
    assert settings.pop("max_sqrt_gradient") == 1000.0
    return settings


def recurrent_config(settings: dict[str, Any]) -> RecurrentBlockConfig:
    return RecurrentBlockConfig(
        hidden=settings.pop("lru_width", None),
        blocks=settings.pop("num_heads"),
        kernel=settings.pop("conv1d_temporal_width", 4),
        c=settings.pop("c"),
    )


def build_layer(case: Case) -> nn.Module:
    """Of the case's hyper-parameters, which are all used."""
    settings = settings_of(case)
    module, width = case.facts["module"], settings.pop("width")
    if module == "ResidualBlock":
        assert settings.pop("temporal_block_type") == "RECURRENT"
        settings.pop("attention_window_size")  # of no meaning to a recurrent one
        expand = settings.pop("mlp_expanded_width") // width
        config = HawkConfig(width=width, expand=expand, recurrent=recurrent_config(settings))
        layer: nn.Module = ResidualBlock(config, "recurrent")
    elif module == "RecurrentBlock":
        layer = RecurrentBlock(recurrent_config(settings), width=width)
    else:
        config = recurrent_config(settings)
        layer = RealGatedLRU(config, *config.sizes(width))
    assert not settings, f"hyper-parameters that this test does not know: {sorted(settings)}"
    return layer


def run(layer: Any, x: Tensor, starts: Tensor, h0: Tensor) -> dict[str, Tensor]:
    """Output and last states, all steps at once; a row whose first step is no start continues from h0."""
    if isinstance(layer, RealGatedLRU):
        h = layer(x, h0, starts)
        return {"output": h, "h_last": h[:, -1]}
    if isinstance(layer, ResidualBlock):  # one stream a row, from its start
        assert starts[:, 0].all() and not starts[:, 1:].any()
        output, state = layer.resume(x, layer.mixer.initial_state(len(x)))
    else:
        output, state = layer.resume(x, continued(layer, h0), starts)
    return {"output": output, "h_last": state.h, "conv_state_last": state.inputs}


def continued(layer: RecurrentBlock, h0: Tensor) -> RecurrentState:
    return layer.initial_state(len(h0))._replace(h=h0, started=True)


def run_step_by_step(layer: Any, x: Tensor, starts: Tensor, h0: Tensor) -> Tensor:
    outputs, state = [], h0
    if isinstance(layer, ResidualBlock):
        state = layer.mixer.initial_state(len(x))
    elif isinstance(layer, RecurrentBlock):
        state = continued(layer, h0)
    for t in range(x.shape[1]):
        now = slice(t, t + 1)
        if isinstance(layer, RealGatedLRU):
            output = layer(x[:, now], state, starts[:, now])
            state = output[:, 0]
        elif isinstance(layer, RecurrentBlock):
            output, state = layer.resume(x[:, now], state, starts[:, now])
        else:
            output, state = layer.step(x[:, t], state)
            output = output.unsqueeze(1)
        outputs.append(output)
    return torch.cat(outputs, dim=1)


def results(case: Case, dtype: torch.dtype) -> Results:
    """Everything that the case holds, from our layer, under the names of the case's arrays."""
    layer = build_layer(case).to(dtype)
    load_original(layer, case.under("param/"))
    x = torch.from_numpy(case.arrays["input"]).to(dtype).requires_grad_()
    starts = torch.from_numpy(case.arrays["segment_pos"] == 0)
    h0 = case.arrays.get("h0", np.zeros_like(case.arrays["h_last"]))
    h0 = torch.from_numpy(h0).to(dtype)
    found = run(layer, x, starts, h0)
    loss = (found["output"] - torch.from_numpy(case.arrays["target"]).to(dtype)).square().sum()
    loss.backward()
    found["loss"], found["grad/input"] = loss, x.grad
    found |= {f"grad/{name}": p.grad for name, p in layer.named_parameters()}
    with torch.no_grad():
        found["output_step"] = run_step_by_step(layer, x, starts, h0)
    return as_arrays(case, found)


def as_arrays(case: Case, found: dict[str, Tensor]) -> Results:
    """Gradients of biases in the blocks in which the original keeps them."""
    arrays = {name: value.detach().double().numpy() for name, value in found.items()}
    for name in arrays:
        if name.startswith("grad/"):
            arrays[name] = arrays[name].reshape(case.arrays[name].shape)
    return arrays


def without_inner_start(case: Case, name: str) -> Any:
    """The rows of an array of the case that can be compared."""
    if name != "output_step" or case.facts["module"] != "RecurrentBlock":
        return ...
    return ~(case.arrays["segment_pos"][:, 1:] == 0).any(axis=1)


def expected_of(case: Case) -> dict[str, np.ndarray]:
    kinds = ("output", "logits", "loss", "grad/", "h_last", "conv_state_last")
    return {n: a for n, a in case.arrays.items() if n.startswith(kinds) and not n.endswith("_f32")}


def assert_within_their_own_rounding(
    case: Case, name: str, found: np.ndarray, expected: np.ndarray, *, times: float
) -> None:
    """To so many times the authors' own difference between float32 and float64, as a fraction."""
    own = case.facts["float32_vs_float64"]
    output = case.arrays["output" if "output" in case.arrays else "logits"]
    rounding = own["worst_grad_rel_to_max"][1]
    if not name.startswith("grad/"):
        rounding = own["output_max_abs"] / np.abs(output).max()
    assert_close(name, found, expected, relative=times * rounding)


def test_outputs_steps_states_and_gradients_match_in_float64(layer_of: Case) -> None:
    found, expected = results(layer_of, torch.float64), expected_of(layer_of)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        rows = without_inner_start(layer_of, name)
        assert_close(name, value[rows], expected[name][rows], relative=1e-9)


def test_outputs_steps_states_and_gradients_match_in_float32(layer_of: Case) -> None:
    """To three times the difference between the authors' own float32 and float64."""
    found, expected = results(layer_of, torch.float32), expected_of(layer_of)
    for name, value in found.items():
        rows = without_inner_start(layer_of, name)
        if name != "loss":
            assert_within_their_own_rounding(layer_of, name, value[rows], expected[name][rows], times=3)


def test_stepping_with_starts_equals_the_whole_sequence_where_the_original_does_not(layer_of: Case) -> None:
    found = results(layer_of, torch.float64)
    assert_close("output_step", found["output_step"], found["output"], relative=1e-12)


# ------------------------------------------------------------------------------ the whole model


def build_griffin(case: Case) -> Griffin:
    settings = settings_of(case)
    width, heads, vocab_size = (settings.pop(name) for name in ("width", "num_heads", "vocab_size"))
    recurrent = RecurrentBlockConfig(blocks=heads, hidden=settings.pop("lru_width"), c=settings.pop("c"))
    pattern = tuple(settings.pop("block_types"))
    config = GriffinConfig(
        width=width,
        layers=len(pattern),
        pattern=pattern,
        heads=heads,
        recurrent=recurrent,
        window=settings.pop("attention_window_size"),
        expand=settings.pop("mlp_expanded_width") // width,
        scale_embedding=settings.pop("embeddings_scale_by_sqrt_dim"),
        logits_cap=settings.pop("logits_soft_cap"),
    )
    assert not settings, f"hyper-parameters that this test does not know: {sorted(settings)}"
    return Griffin(config, vocab_size)


def model_results(case: Case, dtype: torch.dtype) -> Results:
    model = build_griffin(case).to(dtype)
    load_original(model, case.under("param/"))
    assert sum(p.numel() for p in model.parameters()) == case.facts["parameter_count"]
    tokens, target = (torch.from_numpy(case.arrays[name]) for name in ("tokens", "target"))
    _, start = model.initial_state(len(tokens))
    # theirs has no start token: the first one is given to ours as the one before
    logits, _ = model.resume(tokens.roll(-1, dims=1), (tokens[:, 0], start))
    loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum")
    loss.backward()
    found = {"logits": logits, "loss": loss}
    found |= {f"grad/{name}": p.grad for name, p in model.named_parameters()}
    state, steps = model.initial_state(len(tokens)), []
    with torch.no_grad():
        for token in tokens.unbind(1):
            one, state = model.step(token, state)
            steps.append(one)
    found["logits_step"] = torch.stack(steps, dim=1)
    return as_arrays(case, found)


def test_the_model_matches_in_float64(model_of: Case) -> None:
    found, expected = model_results(model_of, torch.float64), expected_of(model_of)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert_close(name, value, expected[name], relative=1e-9)


def test_the_model_matches_in_float32(model_of: Case) -> None:
    """To ten times: through four layers, rounding depends on the kernels that a processor gets."""
    found, expected = model_results(model_of, torch.float32), expected_of(model_of)
    for name, value in found.items():
        if name != "loss":
            assert_within_their_own_rounding(model_of, name, value, expected[name], times=10)
