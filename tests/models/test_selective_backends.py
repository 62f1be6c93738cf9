"""Backends of the selective scans: which one computes, why not another, and that all compute the same."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.configuration import build
from harness.errors import ConfigError
from models.mixers.mamba import Mamba
from models.mixers.mamba2 import Mamba2, duality_backends, state_space_duality
from models.scan import official_mamba, selective
from models.scan.choice import choose
from models.scan.official_mamba import official_chunk_scan, official_selective_scan
from models.scan.selective import selective_backend_for, selective_backends, selective_scan
from models.scan.triton_selective import selective_tile

LAWS = Path(__file__).with_name("triton_selective_laws.py")
ROOT = Path(__file__).parents[2]
CUDA = torch.device("cuda")


def python(*arguments: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    command, environment = [sys.executable, *arguments], os.environ | environment
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ------------------------------------------------------------------------------------ the Triton kernel


def test_the_laws_hold_in_tritons_interpreter() -> None:
    pytest.importorskip("triton")
    python("-m", "pytest", str(LAWS), TRITON_INTERPRET="1")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_laws_hold_on_a_cuda_device() -> None:
    pytest.importorskip("triton")
    python("-m", "pytest", str(LAWS), TRITON_INTERPRET="0")


def test_a_kernel_compiles_for_a_gpu_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter takes more than the compiler does. Backward has all that forward has."""
    pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = importlib.import_module("models.scan.triton_selective_kernels").selective_backward
    constants = {"G": 2, "K": 2, "C": 8, "S": 4, "TERMS": 2}
    kinds = {argument: constants.get(argument, kind_of(argument)) for argument in kernel.arg_names}
    fixed = {(k,): constants[a] for k, a in enumerate(kernel.arg_names) if a in constants}
    types = {a: "constexpr" if a in constants else kind for a, kind in kinds.items()}
    options = {"num_warps": 4, "enable_fp_fusion": True}
    compiled = compile(ASTSource(kernel, types, fixed), target=GPUTarget("cuda", 90, 32), options=options)
    assert compiled.asm["cubin"]


def kind_of(argument: str) -> str:
    if argument in ("length", "channels", "states") or argument.endswith(("_batch", "_time")):
        return "i32"
    half = argument.removeprefix("grad_") in ("u", "delta", "z") or argument in ("B", "C_", "grad_y")
    return "*bf16" if half else "*fp32"


@pytest.mark.parametrize("states", [1, 3, 16, 64, 128, 256, 2000])
def test_a_tile_holds_all_states_of_a_channel_and_no_more_than_registers_can(states: int) -> None:
    tile, padded = selective_tile(states, steps=2)
    assert padded >= states and padded & (padded - 1) == 0
    assert tile.chunks * tile.channels * padded <= max(1024, padded)


# ------------------------------------------------------------------------------------------- the choice


def test_a_cpu_computes_with_its_own_kernel_and_says_why_not_with_a_gpus() -> None:
    assert selective_backend_for("cpu") == "native"
    needs = "it needs a CUDA device"
    assert selective_backends("cpu") == {"mamba-ssm": needs, "triton": needs, "native": None, "lanes": None}
    assert duality_backends("cpu") == {"mamba-ssm": needs, "products": None}


def test_asking_for_what_is_missing_raises_with_the_reason() -> None:
    mixer = build("mixers", {"name": "mamba", "scan": "mamba-ssm"}, width=8)
    with pytest.raises(ValueError, match="'mamba-ssm' cannot be used here: it needs a CUDA device"):
        mixer(torch.zeros(1, 3, 8))
    mixer = build("mixers", {"name": "mamba2", "scan": "mamba-ssm", "state": 4}, width=8)
    with pytest.raises(ValueError, match="'mamba-ssm' cannot be used here: it needs a CUDA device"):
        mixer(torch.zeros(1, 3, 8))


def test_a_backend_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of mamba-ssm, triton, native, lanes, got 'fast'"):
        selective_backend_for("cpu", "fast")
    for name in ("mamba", "mamba2"):
        with pytest.raises(ConfigError) as caught:
            build("mixers", {"name": name, "scan": "fast"}, width=8)
        assert caught.value.path == ("scan",)


def test_the_first_that_can_is_chosen() -> None:
    assert choose({"first": "no", "second": None, "third": None}, None) == "second"
    assert choose({"first": "no", "second": None, "third": None}, "third") == "third"


def test_the_authors_kernels_are_not_chosen_for_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere = selective._BACKENDS["mamba-ssm"]._replace(unavailable=lambda device: None)
    monkeypatch.setitem(selective._BACKENDS, "mamba-ssm", everywhere)
    assert selective_backend_for("cpu") == "mamba-ssm"
    assert selective_backend_for("cpu", dtype=torch.float64) == "native"
    with pytest.raises(ValueError, match="it computes in float32"):
        selective_backend_for("cpu", "mamba-ssm", torch.float64)


def test_mixers_name_the_backend_in_use_and_all_kernels_with_reasons() -> None:
    assert build("mixers", "mamba", width=8).scan_backend == "native"
    assert build("mixers", "mamba2", width=8).scan_backend == "products"
    assert list(Mamba.kernels()) == [
        f"selective scan {name}" for name in ("mamba-ssm", "triton", "native", "lanes")
    ]
    assert list(Mamba2.kernels()) == ["state space duality mamba-ssm", "state space duality products"]


def test_doctor_lists_them() -> None:
    from harness.cli.doctor import _kernels

    found = {area: (state, words) for area, state, words in _kernels()}
    for kernels in (Mamba.kernels(), Mamba2.kernels()):
        for name, reason in kernels.items():
            assert found[f"kernel {name}"] == ("ok" if reason is None else "missing", reason or "")


# ----------------------------------------------------------------------------------- the authors' package


def test_the_package_is_in_no_other_extra_than_cuda() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asking = {name for name, needed in extras.items() if any("mamba-ssm" in one for one in needed)}
    assert asking == {"cuda"} and not any("mamba" in needed for needed in project["dependencies"])


def test_it_is_looked_for_without_being_imported() -> None:
    code = """
import sys, torch
from models.mixers.mamba import Mamba, MambaConfig
from models.mixers.mamba2 import Mamba2, Mamba2Config
Mamba(MambaConfig(), width=8)(torch.zeros(1, 3, 8))
Mamba2(Mamba2Config(), width=8)(torch.zeros(1, 3, 8))
print(any(name.startswith(("mamba_ssm", "triton", "causal_conv1d")) for name in sys.modules))
"""
    assert python("-c", code).strip() == "False"


def package(folder: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    official_mamba._missing.cache_clear()
    for name in [name for name in sys.modules if name.startswith("mamba_ssm")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.skipif(official_mamba.find_spec("mamba_ssm") is not None, reason="mamba-ssm is installed")
def test_where_it_is_not_installed_the_reason_names_the_extra() -> None:
    for reason in (official_mamba.no_selective_scan(CUDA), official_mamba.no_chunk_scan(CUDA)):
        assert reason == "mamba-ssm is not installed (extra `cuda`)"


def test_a_package_that_does_not_load_is_said_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = "raise ImportError('undefined symbol: _ZN3c10')"
    package(tmp_path, {"mamba_ssm/__init__.py": broken}, monkeypatch)
    for reason in (official_mamba.no_selective_scan(CUDA), official_mamba.no_chunk_scan(CUDA)):
        assert reason == "mamba-ssm does not load: ImportError: undefined symbol: _ZN3c10"
    official_mamba._missing.cache_clear()


def test_a_package_built_without_its_extension_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inits = {f"mamba_ssm/{path}__init__.py": "" for path in ("", "ops/", "ops/triton/")}
    modules = {"mamba_ssm/ops/selective_scan_interface.py": "", "mamba_ssm/ops/triton/ssd_combined.py": ""}
    package(tmp_path, inits | modules, monkeypatch)
    assert "without its CUDA extension" in (official_mamba.no_selective_scan(CUDA) or "")
    assert official_mamba.no_chunk_scan(CUDA) is None, "which is Triton, and needs none"
    official_mamba._missing.cache_clear()


def their_selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
) -> Any:
    """By their documentation: time is the last axis, the start is zero, the last state has no gradient."""
    assert all(x.is_contiguous() and x.dtype == u.dtype for x in (u, delta, B, C))
    assert {x.dtype for x in (A, D, delta_bias) if x is not None} == {torch.float32}
    delta = delta.float() if delta_bias is None else delta.float() + delta_bias[:, None]
    delta = F.softplus(delta) if delta_softplus else delta
    h, outputs = u.new_zeros(len(u), *A.shape, dtype=torch.float32), []
    for t in range(u.shape[2]):
        size = delta[:, :, t, None]
        h = torch.exp(size * A) * h + size * u[:, :, t, None].float() * B[:, None, :, t].float()
        outputs.append((h * C[:, None, :, t].float()).sum(-1))
    y = torch.stack(outputs, dim=-1)
    y = y if D is None else y + D[:, None] * u.float()
    y = (y if z is None else y * F.silu(z.float())).to(u.dtype)
    return (y, h.detach()) if return_last_state else y


def their_chunk_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    chunk_size: int,
    initial_states: Tensor,
    return_final_states: bool,
) -> tuple[Tensor, Tensor]:
    assert return_final_states and chunk_size & (chunk_size - 1) == 0 and dt.dtype == torch.float32
    wide = [part.float() for part in (x, B, C)]
    y, h = state_space_duality(wide[0] * dt[..., None], A * dt, wide[1], wide[2], initial_states)
    return y.to(x.dtype), h


@pytest.fixture
def their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package as if it were there, and able to compute on a CPU."""
    scan, chunks = ModuleType(official_mamba.SELECTIVE), ModuleType(official_mamba.CHUNKS)
    scan.__dict__["selective_scan_fn"] = their_selective_scan
    chunks.__dict__["mamba_chunk_scan_combined"] = their_chunk_scan
    for module in (scan, chunks):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    everywhere = selective._BACKENDS["mamba-ssm"]._replace(unavailable=lambda device: None)
    monkeypatch.setitem(selective._BACKENDS, "mamba-ssm", everywhere)
    monkeypatch.setattr("models.mixers.mamba2.no_chunk_scan", lambda device: None)


def operands(length: int, states: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(length)
    sequences = {name: torch.randn(2, length, 4) for name in ("u", "delta", "z")}
    maps = {name: torch.randn(2, length, states) for name in ("B", "C")}
    rest = {"A": -torch.rand(4, states) * 16, "D": torch.randn(4), "bias": torch.randn(4)}
    found = sequences | maps | rest | {"h0": torch.randn(2, 4, states)}
    return {name: value.requires_grad_() for name, value in found.items()}


def ours(bias: Tensor | None = None, **inputs: Tensor | None) -> tuple[Tensor, Tensor]:
    return selective_scan(**inputs, delta_bias=bias, backend="lanes")  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [2, 40])
def test_from_zero_it_is_called_as_it_wants_to_be(length: int, their_package: None) -> None:
    inputs = operands(length)
    del inputs["h0"]
    found, wanted = official_selective_scan(**inputs, h0=None), ours(**inputs)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    slopes = [torch.autograd.grad(y.square().sum(), list(inputs.values())) for y in (found[0], wanted[0])]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("absent", [(), ("D", "z", "bias")], ids=str)
def test_a_state_is_continued_with_its_gradient_and_that_of_the_last_one(
    absent: tuple[str, ...], their_package: None
) -> None:
    """Which their kernel has no arguments for."""
    inputs = {name: value for name, value in operands(21).items() if name not in absent}
    if absent:
        inputs["delta"] = F.softplus(inputs["delta"].detach()).requires_grad_()
    found = official_selective_scan(**dict.fromkeys(("D", "z", "bias")) | inputs)  # type: ignore[arg-type]
    wanted = ours(**inputs)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    slopes = []
    for y, last in (found, wanted):
        slopes.append(torch.autograd.grad(y.square().sum() + last.square().sum(), list(inputs.values())))
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-4, atol=1e-4)


def test_a_gradient_that_would_be_lost_is_refused(their_package: None) -> None:
    inputs = operands(5)
    del inputs["h0"]
    _, last = official_selective_scan(**inputs, h0=None)
    assert not last.requires_grad, "their reference lets it go; where it does not:"
    kept = official_mamba._WithoutGradient.apply(inputs["u"])
    with pytest.raises(RuntimeError, match="start from `initial_state`"):
        kept.sum().backward()


SPECS: dict[str, dict[str, Any]] = {
    "mamba": {"name": "mamba", "state": 4},
    "mamba2": {"name": "mamba2", "state": 4, "head": 4, "groups": 2},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_a_mixer_gives_the_same_with_the_same_parameters_whichever_backend(
    spec: dict[str, Any], dtype: torch.dtype, their_package: None
) -> None:
    own = {"mamba": "native", "mamba2": "products"}[spec["name"]]
    torch.manual_seed(0)
    x, found = torch.randn(2, 30, 8), []
    weights: dict[str, Tensor] = {}
    for backend in (own, "mamba-ssm"):
        mixer = build("mixers", spec | {"scan": backend}, width=8)
        weights = weights or mixer.state_dict()
        mixer.load_state_dict(weights)
        assert mixer.scan_backend == backend
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y, state = mixer.resume(x[:, :17], mixer.initial_state(2))
            rest, state = mixer.resume(x[:, 17:], state)
            whole = mixer(x)
        (torch.cat((y, rest), 1).float().square().sum() + whole.float().sum()).backward()
        found.append([y, rest, whole, *state, *(p.grad for p in mixer.parameters())])
    bound = 1e-4 if dtype == torch.float32 else 0.05
    for first, second in zip(*found, strict=True):
        assert (first - second).abs().max() <= bound * first.abs().max()


def test_the_state_space_duality_is_called_as_it_wants_to_be(their_package: None) -> None:
    torch.manual_seed(0)
    x, step, A = torch.randn(2, 20, 4, 3), torch.rand(2, 20, 4), -torch.rand(4)
    B, C, h0 = torch.randn(2, 20, 2, 5), torch.randn(2, 20, 2, 5), torch.randn(2, 4, 3, 5)
    found = official_chunk_scan(x, step, A, B, C, h0)
    wanted = state_space_duality(x * step[..., None], A * step, B, C, h0)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
