"""The S4 layer of SaShiMi's code: kernels, outputs, steps, and the gradients of kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_cases import Case, assert_close
from torch import Tensor

from harness.errors import HarnessError
from models.mixers.cauchy import generating_function
from models.mixers.s4 import S4, S4Config
from models.original.s4 import OURS, load_original_s4

LAYER = "s4block_layer"
KERNEL = ".layer.layer.kernel"
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
ALGORITHMS = pytest.mark.parametrize("algorithm", ["steps", "powers", "cauchy"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each S4 kernel of each whole network that the folder holds."""
    if "kernel_of" not in metafunc.fixturenames:
        return
    folder: Path = metafunc.config.getoption("goldens") / "sashimi"
    found = []
    for path in sorted(folder.glob("*.json")):
        case = Case(path)
        names = [name.removeprefix("gradK/") for name in case.arrays if name.startswith("gradK/")]
        found += [pytest.param((case, name), id=f"{path.stem}-{name}") for name in names]
    metafunc.parametrize("kernel_of", found)


@pytest.fixture
def case(goldens: Path) -> Case:
    return Case(goldens / "sashimi" / f"{LAYER}.json")


def build(case: Case, algorithm: str, dtype: torch.dtype) -> S4:
    facts = case.facts["hyper_parameters"]
    config = S4Config(
        state=facts["d_state"],
        systems=facts["n_ssm"],
        glu=facts["final_act"] == "glu",
        algorithm=algorithm,
    )
    layer = S4(config, width=facts["d_model"]).to(dtype)
    load_original_s4(layer, case.under("state_init/"))
    return layer


def check(case: Case, dtype: torch.dtype, **found: Tensor) -> None:
    """In float64 to 1e-9; in float32 to three times the original's own difference from float64."""
    for name, value in found.items():
        expected = case.arrays[name]
        if expected.shape[-1] == 2 and value.is_complex():
            value = torch.view_as_real(value)
        bound = 1e-9 if dtype == torch.float64 else 3 * case.facts["float32_vs_float64_max_abs"][name]
        value = value.detach().double().numpy().reshape(expected.shape)
        assert_close(name, value, expected, absolute=bound)


@ALGORITHMS
@DTYPES
def test_kernels_and_outputs_match_at_both_lengths(case: Case, algorithm: str, dtype: torch.dtype) -> None:
    layer, x = build(case, algorithm, dtype), torch.from_numpy(case.arrays["input"]).to(dtype).mT
    for which in ("L1", "L2"):
        length = case.facts["hyper_parameters"][which]
        found = {f"kernel_{which}": layer.ssm.kernel(length), f"output_{which}": layer(x[:, :length]).mT}
        check(case, dtype, **found)


@DTYPES
def test_steps_and_their_last_state_match(case: Case, dtype: torch.dtype) -> None:
    layer, x = build(case, "powers", dtype), torch.from_numpy(case.arrays["input"]).to(dtype).mT
    state, outputs = layer.initial_state(len(x)), []
    for x_t in x.unbind(1):
        y, state = layer.step(x_t, state)
        outputs.append(y)
    check(case, dtype, output_step=torch.stack(outputs, dim=-1), final_state=both_of_each_pair(state))
    _, state = layer.resume(x, None)
    check(case, dtype, final_state=both_of_each_pair(state))


def both_of_each_pair(state: Tensor) -> Tensor:
    h = torch.view_as_complex(state.unflatten(-1, (-1, 2)))
    return torch.cat((h, h.conj()), dim=-1)


@DTYPES
def test_the_c_that_the_original_trains_matches(case: Case, dtype: torch.dtype) -> None:
    layer = build(case, "powers", dtype)
    for which in ("L1", "L2"):
        length = int(case.arrays[f"l_kernel_after_{which}"])
        check(case, dtype, **{f"C_tilde_after_{which}": layer.ssm.truncated_c(length)})


@pytest.mark.parametrize("which", ["L1", "L2"])
def test_weights_are_loaded_before_and_after_the_original_replaced_c(case: Case, which: str) -> None:
    layer = build(case, "powers", torch.float64)
    arrays = case.under("state_init/") | {
        "layer.kernel.C": case.arrays[f"C_tilde_after_{which}"],
        "layer.kernel.l_kernel": case.arrays[f"l_kernel_after_{which}"],
    }
    trained = S4(S4Config(state=layer.ssm.c.shape[1] * 2), width=len(layer.ssm.c)).double()
    load_original_s4(trained, arrays)
    torch.testing.assert_close(trained.ssm.c, layer.ssm.c, rtol=0, atol=1e-7)


def test_weights_of_another_layer_are_refused(case: Case) -> None:
    layer, arrays = build(case, "powers", torch.float64), case.under("state_init/")
    with pytest.raises(HarnessError, match=r"layer\.D"):
        load_original_s4(layer, {name: a for name, a in arrays.items() if name != "layer.D"})
    with pytest.raises(HarnessError, match=r"output_linear\.0\.bias has shape \[9\]"):
        load_original_s4(layer, arrays | {"output_linear.0.bias": np.zeros(9)})


# ---------------------------------------------------------------------------------- whole networks


def kernel_layer(case: Case, name: str, algorithm: str, dtype: torch.dtype) -> S4:
    facts, where = case.facts["hyper_parameters"], name.removesuffix(KERNEL)
    width = len(case.arrays[f"state_init/{name}.inv_dt"])
    config = S4Config(
        state=facts["d_state"],
        systems=facts.get("n_ssm"),
        glu=facts["final_act"] == "glu",
        algorithm=algorithm,
    )
    layer = S4(config, width=width).to(dtype)
    load_original_s4(layer, case.under(f"state_init/{where}.layer."))
    return layer


def assert_gradients(case: Case, name: str, prefix: str, gradients: dict[str, Tensor]) -> None:
    for ours, gradient in gradients.items():
        theirs = next(theirs for theirs, our_name in OURS.items() if our_name == f"ssm.{ours}")
        expected = case.arrays[f"{prefix}/{name}.{theirs.removeprefix('layer.kernel.')}"]
        assert_close(ours, gradient.double().numpy().reshape(expected.shape), expected, relative=1e-8)


@ALGORITHMS
def test_kernels_of_networks_and_their_gradients_match(kernel_of: tuple[Case, str], algorithm: str) -> None:
    case, name = kernel_of
    layer = kernel_layer(case, name, algorithm, torch.float64)
    expected = case.arrays[f"kernel/{name}"]
    kernel = layer.ssm.kernel(expected.shape[-1])
    assert_close(name, kernel.detach().numpy()[None], expected, relative=1e-8)
    kernel.backward(torch.from_numpy(case.arrays[f"gradK/{name}"])[0])
    gradients = {ours: p.grad for ours, p in layer.ssm.named_parameters()}
    assert_gradients(case, name, "grad_plain", gradients)


def test_gradients_with_the_original_free_parameter_match(kernel_of: tuple[Case, str]) -> None:
    """By the Cauchy kernel from C~, as the original trains it."""
    case, name = kernel_of
    layer = kernel_layer(case, name, "cauchy", torch.float64)
    with torch.no_grad():
        layer.ssm.c.copy_(torch.from_numpy(case.arrays[f"state_used/{name}.C"])[0])
    length = int(case.arrays[f"state_used/{name}.l_kernel"])
    c = torch.view_as_complex(layer.ssm.c)
    spectrum = generating_function(length, layer.ssm.continuous(), c)
    torch.fft.irfft(spectrum, n=length).backward(torch.from_numpy(case.arrays[f"gradK/{name}"])[0])
    assert_gradients(case, name, "grad", {ours: p.grad for ours, p in layer.ssm.named_parameters()})
