"""The published classifier: its numbers, its files, and that reading them runs none of their code."""

import os
import sys
import types
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from harness.errors import DataError
from harness.evaluation.classifier import extractor as extractors
from harness.evaluation.classifier.extractor import extractor_for, load_published
from harness.evaluation.classifier.published import WeightsError, read_tensors
from harness.evaluation.classifier.resnext import ResNeXt

CPU = torch.device("cpu")

LOGITS = [
    *(20.959464, 20.063557, 51.956044, -22.875146, 52.412123),
    *(37.490666, 36.690516, -14.65305, 31.399073, 20.692598),
]
FEATURES = [
    *(1.200381, 5.763366, 44.090677, 15.367604, 67.567586, 0.001606, 1.424335, 62.690649),
    *(8.378234, 34.872964, 38.626582, 82.069466, 17.279409, 40.36702, 11.819139, 5.178177),
]
"""The authors' network (state-spaces/s4 at e757cef, models/sashimi/sc09_classifier/models/resnext.py) in
double precision, with the weights and the input drawn below; every 64th feature."""


def drawn(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A weight that depends on its name alone, large enough for every layer to matter."""
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    if not shape:
        return torch.tensor(0)
    if name.endswith("running_var"):
        value = draw.uniform(0.5, 1.5, shape)
    elif len(shape) == 1:
        value = draw.standard_normal(shape) * 0.1 + (1.0 if name.endswith("weight") else 0.0)
    else:
        value = draw.standard_normal(shape) * np.sqrt(1.0 / np.prod(shape[1:]))
    return torch.from_numpy(value.astype(np.float32))


@pytest.fixture(scope="module")
def weights():
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in ResNeXt(10).state_dict().items()}
    return {name: drawn(name, shape) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def published(weights, tmp_path_factory):
    """As the authors' training script leaves them: parallel, inside a checkpoint."""
    path = tmp_path_factory.mktemp("weights") / "checkpoint.pth"
    state = {f"module.{name}": value for name, value in weights.items() if not name.endswith("tracked")}
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.01}}, path)
    return path


@pytest.fixture(scope="module")
def extractor(published):
    return load_published(published)


def test_the_network_computes_the_authors_numbers(extractor):
    mel = np.random.default_rng(0).uniform(-80, 0, (1, 32, 32)).astype(np.float32)
    with torch.inference_mode():
        features, logits = extractor.network(torch.from_numpy(mel))
    np.testing.assert_allclose(logits[0], LOGITS, atol=1e-3)
    np.testing.assert_allclose(features[0, ::64], FEATURES, atol=1e-3)
    assert features.shape == (1, 1024)
    assert sum(parameter.numel() for parameter in extractor.network.parameters()) == 34_425_546


def test_a_second_at_16_khz_is_what_it_hears(extractor):
    assert extractor.sample_rate == 16000 and extractor.front_end.length == 16000
    assert extractor.accuracy is None and extractor.too_weak, "nobody has measured it"
    clips = np.random.default_rng(0).standard_normal((1, 8000)).astype(np.float32)
    assert extractor.embed(clips, 8000).features.shape == (1, 1024)


class _TenDigits:
    """A stand-in for a network of 34 million weights."""

    @staticmethod
    def network(path: Path) -> nn.Module:
        return _Deaf()


class _Deaf(nn.Module):
    """Hears the first class in everything."""

    def forward(self, mel):
        logits = torch.zeros(len(mel), 10)
        logits[:, 0] = 1.0
        return mel.flatten(1), logits


def test_its_accuracy_is_measured_on_the_test_split_and_remembered(dataset, cache, tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    monkeypatch.setattr(extractors, "load_network", _TenDigits.network)
    splits = dataset().splits
    ten = type(splits["test"])(
        tokens=np.repeat(splits["test"].tokens, 2, axis=0)[:20],
        lengths=np.full(20, 1000),
        labels=np.arange(20) % 10,
    )
    digits = dataset(splits=dict.fromkeys(splits, ten))
    first = extractor_for(digits, str(path), CPU)
    assert first.accuracy == 0.1 and first.too_weak and "20 clips" in first.held_out
    monkeypatch.setattr(extractors, "classify", None)
    assert extractor_for(digits, str(path), CPU).accuracy == 0.1


def test_it_is_for_ten_digits_alone(dataset, cache, tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    monkeypatch.setattr(extractors, "load_network", _TenDigits.network)
    with pytest.raises(DataError, match=r"knows 10 spoken digits, but tones has 3 classes"):
        extractor_for(dataset(), str(path), CPU)


class _Ours(nn.Module):
    """A small module that is pickled under the names of the published one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.layers = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 3))


@pytest.fixture
def pickled(tmp_path, monkeypatch):
    """A whole module in a DataParallel, whose class nobody can import when the file is read."""
    home = types.ModuleType("resnext_of_its_authors")
    their = type("CifarResNeXt", (_Ours,), {"__module__": home.__name__})
    home.CifarResNeXt = their  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, home.__name__, home)
    module = nn.DataParallel(their())
    path = tmp_path / "resnext.pth"
    torch.save(module, path)
    monkeypatch.delitem(sys.modules, home.__name__)
    return path, module.state_dict()


def test_a_pickled_module_is_read_without_its_classes(pickled):
    path, expected = pickled
    found = read_tensors(path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert "resnext_of_its_authors" not in sys.modules


class _Malicious:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_code_in_a_file_is_not_run_and_the_way_out_is_shown(tmp_path, legacy):
    mark, path = tmp_path / "was_here", tmp_path / "weights.pth"
    torch.save({"a": _Malicious(f"touch {mark}")}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match=r"without running its code") as error:
        read_tensors(path)
    assert not mark.exists()
    assert "torch.save(module.state_dict()" in str(error.value)


@pytest.mark.parametrize("how", ["plain", "legacy", "wrapped", "safetensors"])
def test_state_dicts_are_read_in_every_layout(tmp_path, how):
    state = {"a.weight": torch.arange(3.0)}
    path = tmp_path / ("weights.safetensors" if how == "safetensors" else "weights.pt")
    if how == "safetensors":
        save_file(state, path)
    else:
        content = {"epoch": 1, "state_dict": state} if how == "wrapped" else state
        torch.save(content, path, _use_new_zipfile_serialization=how != "legacy")
    found = read_tensors(path)
    assert found.keys() == state.keys() and torch.equal(found["a.weight"], state["a.weight"])


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"classifier.weight": torch.zeros(10, 7)}, path)
    with pytest.raises(WeightsError, match=r"holds no weights of the published classifier"):
        load_published(path)


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 broken"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_file_of_weights_is_named(tmp_path, content, suffix):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=str(path)):
        read_tensors(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match="there is no file"):
        load_published(tmp_path / "nowhere.pth")
