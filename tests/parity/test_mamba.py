"""Mamba and the SSD algorithm of Mamba-2 match the originals, with states and gradients.

Opt-in, where `transformers` is installed: Mamba, Mamba-2 and the gated delta rule match its layers, and
Mamba as a whole model its whole model. Its Mamba layer equals the authors' bit for bit on a CPU, so that
it is a second reference beside the stored numbers.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_cases import Case, assert_close
from torch import Tensor, nn

from baselines.mamba import Mamba as MambaModel
from harness.configuration import parse
from harness.data.torchaudio_import import torchaudio
from models.mixers.gated_delta_net import gated_delta_rule
from models.mixers.mamba import Mamba, MambaConfig
from models.mixers.mamba2 import Mamba2, Mamba2Config, state_space_duality

Results = dict[str, Tensor]
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def is_block(case: Case) -> bool:
    return "d_model" in case.facts["hyper_parameters"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder: Path = metafunc.config.getoption("goldens") / "mamba"
    cases = [Case(path) for path in sorted(folder.glob("*.json"))]
    for fixture, wanted in (("block_case", True), ("ssd_case", False)):
        if fixture in metafunc.fixturenames:
            found = [case for case in cases if is_block(case) == wanted]
            metafunc.parametrize(fixture, found, ids=[case.path.stem for case in found])


# ------------------------------------------------------------------------------------------ Mamba


def build_block(case: Case, dtype: torch.dtype) -> Mamba:
    """Of the case's hyper-parameters, which are all used, with its weights."""
    settings = dict(case.facts["hyper_parameters"])
    settings.pop("batch"), settings.pop("length")
    assert settings.pop("activation", "silu") == "silu"
    width, expand = settings.pop("d_model"), settings.pop("expand")
    assert settings.pop("d_inner", expand * width) == expand * width
    config = MambaConfig(
        expand=expand,
        state=settings.pop("d_state"),
        kernel=settings.pop("d_conv"),
        rank=settings.pop("dt_rank"),
        bias=settings.pop("bias", False),
        convolution_bias=settings.pop("conv_bias", True),
    )
    assert not settings, f"hyper-parameters that this test does not know: {sorted(settings)}"
    block = Mamba(config, width=width).to(dtype)
    block.load_state_dict({name: torch.from_numpy(array) for name, array in case.under("param/").items()})
    return block


def block_results(case: Case, dtype: torch.dtype) -> Results:
    """Outputs, loss, final states and all gradients, under the names of the case's arrays."""
    block = build_block(case, dtype)
    x = torch.from_numpy(case.arrays["input"]).to(dtype).requires_grad_()
    y, (window, h) = block.resume(x, None)
    loss = (y.double() - torch.from_numpy(case.arrays["target"])).square().sum()
    loss.backward()
    found = {"output": y, "loss": loss, "grad/input": x.grad, "ssm_state_final": h}
    found["conv_state_final"] = window.transpose(1, 2)
    return found | {f"grad/{name}": p.grad for name, p in block.named_parameters()}


def expected(case: Case, name: str) -> np.ndarray:
    """The original keeps one input more than its convolution needs."""
    array = case.arrays[name]
    return array[..., 1:] if name == "conv_state_final" else array


def test_the_block_has_as_many_parameters(block_case: Case) -> None:
    block = build_block(block_case, torch.float32)
    assert sum(p.numel() for p in block.parameters()) == block_case.facts["parameter_count"]


def test_outputs_states_and_gradients_of_a_block_match_in_float64(block_case: Case) -> None:
    found = block_results(block_case, torch.float64)
    gradients = {name for name in block_case.arrays if name.startswith("grad/")}
    assert gradients == {name for name in found if name.startswith("grad/")}
    for name, value in found.items():
        assert_close(name, value.detach().numpy(), expected(block_case, name), relative=1e-9)


def test_outputs_states_and_gradients_of_a_block_match_in_float32(block_case: Case) -> None:
    """To three times the difference between the authors' own float32 and float64."""
    own = block_case.facts["float32_vs_float64"]
    gradient = {"relative": 3 * own["worst_grad_rel_to_max"][1]}
    bounds = {"output": {"absolute": 3 * own["output_max_abs"]}, "loss": {"relative": 3 * own["loss_rel"]}}
    for name, value in block_results(block_case, torch.float32).items():
        wanted, bound = expected(block_case, name), bounds.get(name, gradient)
        assert_close(name, value.detach().double().numpy(), wanted, **bound)


@DTYPES
def test_stepping_a_block_gives_the_same_outputs_and_states(block_case: Case, dtype: torch.dtype) -> None:
    """The original's step-by-step outputs are left out of the slim copies: rounded, they are its outputs."""
    block, x = build_block(block_case, dtype), torch.from_numpy(block_case.arrays["input"]).to(dtype)
    state, outputs = block.initial_state(len(x)), []
    with torch.no_grad():
        for x_t in x.unbind(1):
            y, state = block.step(x_t, state)
            outputs.append(y)
    own = block_case.facts["float32_vs_float64"]
    bound = {"relative": 1e-9} if dtype == torch.float64 else {"absolute": 3 * own["output_step_max_abs"]}
    wanted = block_case.arrays.get("output_step", block_case.arrays["output"])
    assert_close("output_step", torch.stack(outputs, dim=1).double().numpy(), wanted, **bound)
    relative = 1e-9 if dtype == torch.float64 else 3 * own["worst_grad_rel_to_max"][1]
    for name, value in zip(("conv_state_final", "ssm_state_final"), state, strict=True):
        value = value.transpose(1, 2) if name == "conv_state_final" else value
        assert_close(name, value.double().numpy(), expected(block_case, name), relative=relative)


# -------------------------------------------------------------------------------------------- SSD


def ssd_results(case: Case, dtype: torch.dtype, chunk: int) -> Results:
    names = [name for name in ("X", "A", "B", "C", "initial_states") if name in case.arrays]
    inputs = {name: torch.from_numpy(case.arrays[name]).to(dtype).requires_grad_() for name in names}
    h0 = inputs["initial_states"].squeeze(1) if "initial_states" in inputs else None
    y, h = state_space_duality(*(inputs[name] for name in "XABC"), h0, chunk=chunk)
    loss = (y.double() - torch.from_numpy(case.arrays["target"])).square().sum() + h.double().square().sum()
    loss.backward()
    gradients = {f"grad/{name}": value.grad for name, value in inputs.items()}
    return {"Y": y, "final_state": h, "loss": loss, **gradients}


@pytest.mark.parametrize("chunk", [1, 7, 16, 64])
def test_ssd_outputs_states_and_gradients_match_in_float64(ssd_case: Case, chunk: int) -> None:
    found = ssd_results(ssd_case, torch.float64, chunk)
    wanted = {name for name in ssd_case.arrays if name in ("Y", "final_state", "loss") or "grad/" in name}
    assert wanted <= set(found)
    for name in wanted:
        assert_close(name, found[name].detach().numpy(), ssd_case.arrays[name], relative=1e-9)


@pytest.mark.parametrize("chunk", [16, 64])
def test_ssd_outputs_states_and_gradients_match_in_float32(ssd_case: Case, chunk: int) -> None:
    """To three times the authors' own difference, which is of chunks of 16; longer sums round more."""
    own = ssd_case.facts["float32_vs_float64_max_abs"]
    longer = chunk / ssd_case.facts["hyper_parameters"]["block_len"]
    for name, value in ssd_results(ssd_case, torch.float32, chunk).items():
        if name in own:
            found = value.detach().double().numpy()
            assert_close(name, found, ssd_case.arrays[name], absolute=3 * longer**0.5 * own[name])


# ----------------------------------------------------------------------------------- transformers


def transformers(path: str) -> ModuleType:
    """A module of `transformers.models`; skips where the package is not installed."""
    pytest.importorskip("transformers", reason="the second reference, transformers, is not installed")
    torchaudio()  # which transformers imports too, and which needs help beside a CPU-only torch
    return importlib.import_module(f"transformers.models.{path}")


def assert_the_same(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    """Outputs and gradients, in float32, their layers' type."""
    for parameter in theirs.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    ours.load_state_dict(theirs.state_dict())
    found: list[dict[str, Tensor]] = []
    for layer in (ours, theirs):
        y = layer(x)
        (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        found.append({"y": y.detach(), **{n: p.grad for n, p in layer.named_parameters()}})
    for name, value in found[0].items():
        assert_close(name, value.numpy(), found[1][name].numpy(), relative=1e-5)


def test_mamba_equals_the_mixer_of_transformers() -> None:
    module = transformers("mamba.modeling_mamba")
    torch.manual_seed(0)
    settings: dict[str, Any] = {"hidden_size": 16, "state_size": 8, "conv_kernel": 3, "use_bias": True}
    theirs = module.MambaMixer(module.MambaConfig(**settings, vocab_size=2, num_hidden_layers=1), layer_idx=0)
    ours = Mamba(MambaConfig(state=8, kernel=3, bias=True), width=16)
    assert_the_same(ours, theirs.eval(), torch.randn(2, 70, 16))


def test_the_whole_model_equals_that_of_transformers() -> None:
    """Which reads the tokens that ours shifts in: after silence, all but the last."""
    module = transformers("mamba.modeling_mamba")
    torch.manual_seed(0)
    settings: dict[str, Any] = {"hidden_size": 16, "state_size": 8, "num_hidden_layers": 3, "vocab_size": 24}
    theirs = module.MambaForCausalLM(module.MambaConfig(**settings)).eval()
    weights = {name: p + 0.05 * torch.randn_like(p) for name, p in theirs.state_dict().items()}
    renamed = {
        "backbone.embeddings": "table", "backbone.norm_f": "norm", "lm_head": "head",
        "backbone.layers": "blocks", ".mixer.": ".layer.",
    }  # fmt: skip
    weights["lm_head.weight"] = weights["backbone.embeddings.weight"]
    theirs.load_state_dict(weights)
    for old, new in renamed.items():
        weights = {name.replace(old, new): p for name, p in weights.items()}
    ours = MambaModel(parse(MambaModel.Config, {"width": 16, "layers": 3, "mixer": {"state": 8}}), 24)
    ours.load_state_dict(weights)
    tokens = torch.randint(24, (2, 40))
    with torch.no_grad():
        before = F.pad(tokens[:, :-1], (1, 0), value=12)
        assert_close("logits", ours(tokens).numpy(), theirs(before).logits.numpy(), relative=1e-5)


def test_the_whole_model_starts_as_that_of_the_authors() -> None:
    """By transformers with the options of the authors' package: the scaled last map, and the table."""
    module = transformers("mamba.modeling_mamba")
    torch.manual_seed(0)
    settings: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 4, "vocab_size": 256}
    config = module.MambaConfig(**settings, initializer_range=0.02, rescale_prenorm_residual=True)
    theirs = dict(module.MambaForCausalLM(config).named_parameters())
    ours = MambaModel(parse(MambaModel.Config, {"width": 64, "layers": 4}))
    last = ours.blocks[0].layer.out_proj.weight.std().item()
    wanted = theirs["backbone.layers.0.mixer.out_proj.weight"].std().item()
    assert last == pytest.approx(wanted, rel=0.05)
    assert ours.table.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_mamba2_equals_the_mixer_of_transformers() -> None:
    module = transformers("mamba2.modeling_mamba2")
    torch.manual_seed(0)
    settings: dict[str, Any] = {"hidden_size": 16, "num_heads": 4, "head_dim": 8, "state_size": 8}
    config = module.Mamba2Config(**settings, n_groups=2, chunk_size=16, vocab_size=2, num_hidden_layers=1)
    ours = Mamba2(Mamba2Config(head=8, state=8, groups=2), width=16)
    assert_the_same(ours, module.Mamba2Mixer(config, layer_idx=0).eval(), torch.randn(2, 70, 16))


def test_the_gated_delta_rule_equals_that_of_transformers() -> None:
    module = transformers("qwen3_next.modeling_qwen3_next")
    torch.manual_seed(0)
    q, k = torch.randn(2, 2, 150, 3, 8).unbind(0)
    v, log_decay, strength = torch.randn(2, 150, 3, 6), -torch.rand(2, 150, 3), torch.rand(2, 150, 3)
    q, k, start = F.normalize(q, dim=-1), F.normalize(k, dim=-1), torch.randn(2, 3, 8, 6)
    wanted = module.torch_recurrent_gated_delta_rule(q, k, v, log_decay, strength, start, True)
    found = gated_delta_rule(q * 8**-0.5, k, v, log_decay, strength, start)
    for name, ours, theirs in zip(("outputs", "state"), found, wanted, strict=True):
        assert_close(name, ours.numpy(), theirs.numpy(), relative=1e-5)
