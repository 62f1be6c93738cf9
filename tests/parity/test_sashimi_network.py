"""Whole SaShiMi networks of the authors' code: outputs by convolution and by steps, losses, gradients.

`test_s4_layer.py` compares the kernels of their layers, and the gradients of those.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_cases import Case, assert_close
from torch import Tensor

from baselines.sashimi import SaShiMi, SaShiMiConfig
from baselines.sashimi_original import arrays_of, load_original_sashimi, to_original
from harness.configuration import parse
from harness.errors import HarnessError

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
EXACT = 1e-8
"""Of an array's largest value, in float64."""
KERNEL = ".kernel."


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Once for each whole network that the folder holds."""
    if "network" in metafunc.fixturenames:
        folder: Path = metafunc.config.getoption("goldens") / "sashimi"
        cases = [Case(path) for path in sorted(folder.glob("*.json"))]
        networks = [case for case in cases if "pool" in case.facts["hyper_parameters"]]
        metafunc.parametrize("network", networks, ids=[case.path.stem for case in networks])


def build(case: Case, dtype: torch.dtype) -> SaShiMi:
    facts = case.facts["hyper_parameters"]
    options = {
        "width": facts["d_model"],
        "layers": facts["n_layers"],
        "pooling": facts["pool"],
        "widening": facts["expand"],
        "expand": facts["ff"],
        "unet": facts["unet"],
        "dropout": facts["dropout"],
        "s4": {
            "state": facts["d_state"],
            "systems": facts.get("n_ssm"),
            "glu": facts["final_act"] == "glu",
            "min_step": facts["dt_min"],
            "max_step": facts["dt_max"],
        },
    }
    model = SaShiMi(parse(SaShiMiConfig, options), vocab_size=2).to(dtype)
    load_original_sashimi(model, case.under("state_init/"))
    return model


def inputs(case: Case, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return tuple(torch.from_numpy(case.arrays[name]).to(dtype) for name in ("input", "target"))


def bound(case: Case, name: str, expected: np.ndarray, dtype: torch.dtype) -> float:
    """In float32, three times the original's own distance from its float64 run."""
    if dtype == torch.float32:
        return 3 * case.facts["float32_vs_float64"][name]
    return EXACT * np.abs(expected).max()


@DTYPES
def test_outputs_by_convolution_match(network: Case, dtype: torch.dtype) -> None:
    model, (x, target) = build(network, dtype), inputs(network, dtype)
    with torch.no_grad():
        y = model.norm(model.backbone(x))
    expected = network.arrays["output_conv"]
    allowed = bound(network, "output_conv_max_abs", expected, dtype)
    assert_close("output", y.double().numpy(), expected, absolute=allowed)
    loss, allowed = (y - target).square().sum().double().numpy(), EXACT
    if dtype == torch.float32:  # the original's happens to be closer than float32 resolves
        allowed = max(3 * network.facts["float32_vs_float64"]["loss_rel"], torch.finfo(dtype).eps)
    assert_close("loss", loss, network.arrays["loss"], absolute=0, relative=allowed)


@DTYPES
@torch.no_grad()
def test_outputs_step_by_step_match(network: Case, dtype: torch.dtype) -> None:
    model, (x, _) = build(network, dtype), inputs(network, dtype)
    state, outputs = model.backbone.initial_state(len(x)), []
    for x_t in x.unbind(1):
        y, state = model.backbone.step(x_t, state)
        outputs.append(model.norm(y))
    found = torch.stack(outputs, dim=1).double().numpy()
    expected = network.arrays.get("output_step", network.arrays["output_conv"])
    allowed = bound(network, "output_step_max_abs", expected, dtype)
    assert_close("output", found, expected, absolute=allowed)


@DTYPES
def test_gradients_match(network: Case, dtype: torch.dtype) -> None:
    """Of the S4 layers' own parameters those with C as it is; see the golden vectors' README."""
    model, (x, target) = build(network, dtype), inputs(network, dtype)
    x.requires_grad_()
    (model.norm(model.backbone(x)) - target).square().sum().backward()
    gradients = {ours: p.grad for ours, p in model.named_parameters() if p.grad is not None}
    expected = {name: a for name, a in network.under("grad/").items() if KERNEL not in name}
    expected |= network.under("grad_plain/")
    found = {"input": x.grad, **to_original(model, gradients)}
    assert found.keys() == expected.keys()
    exact = dtype == torch.float64
    allowed = EXACT if exact else 3 * network.facts["float32_vs_float64"]["worst_grad_rel_to_max"][1]
    for name, gradient in found.items():
        value = gradient.double().numpy().reshape(expected[name].shape)
        assert_close(name, value, expected[name], absolute=0, relative=allowed)


def test_every_parameter_of_the_backbone_has_its_place_in_the_original(network: Case) -> None:
    model = build(network, torch.float64)
    ours = [name for _, name, _ in arrays_of(model)]
    own = {"embedding.weight", "head.weight", "head.bias"}
    assert sorted(ours) == sorted(name for name, _ in model.named_parameters() if name not in own)
    count = sum(model.get_parameter(name).numel() for name in ours)
    assert count == network.facts["parameter_count"]


def test_weights_of_another_network_are_refused(network: Case) -> None:
    model, arrays = build(network, torch.float64), network.under("state_init/")
    with pytest.raises(HarnessError, match=r"norm\.bias"):
        load_original_sashimi(model, {name: a for name, a in arrays.items() if name != "norm.bias"})
    with pytest.raises(HarnessError, match=r"norm\.bias has shape \[1\]"):
        load_original_sashimi(model, arrays | {"norm.bias": np.zeros(1)})
