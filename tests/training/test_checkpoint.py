import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from harness.errors import HarnessError, PluginError
from harness.training.checkpoint import load_checkpoint, read_info, save_checkpoint


class Everything(nn.Module):
    """Tied weights, complex numbers, integer buffers, views, scalars."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.table = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.table.weight
        self.pole = nn.Parameter(torch.randn(3, dtype=torch.complex64))
        self.exact = nn.Parameter(torch.randn(2, dtype=torch.complex128))
        self.register_buffer("counts", torch.randint(9, (3, 2)).T)
        self.register_buffer("phase", torch.randn(2, dtype=torch.complex64).conj())
        self.register_buffer("scalar", torch.tensor(2.5 + seed))
        self.register_buffer("scratch", torch.zeros(1), persistent=False)


def save(path, model, **options):
    save_checkpoint(path, model, **{"config": {"train": {"crop": 5}}, "step": 7} | options)


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    original, other = Everything(0), Everything(1)
    save(path, original)
    info = load_checkpoint(path, other)
    assert info.step == 7 and info.config == {"train": {"crop": 5}} and read_info(path) == info
    for name, value in original.state_dict().items():
        found = other.state_dict()[name]
        assert torch.equal(found, value) and found.dtype == value.dtype, name
    assert other.head.weight is other.table.weight


def test_equal_models_give_equal_files_and_nothing_else_stays_in_the_folder(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / name / "checkpoint.safetensors", Everything())
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert len(files) == 2 and files[0].read_bytes() == files[1].read_bytes()
    assert all(len(list(file.parent.iterdir())) == 1 for file in files)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file_is_refused_and_leaves_the_model_alone(tmp_path, keep):
    path = tmp_path / "checkpoint.safetensors"
    save(path, Everything(0))
    path.write_bytes(path.read_bytes()[:keep])
    model = Everything(1)
    with pytest.raises(HarnessError, match="damaged checkpoint"):
        load_checkpoint(path, model)
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), Everything(1).state_dict().values(), strict=True)
    )


def test_a_missing_file_and_a_stranger_are_named(tmp_path):
    with pytest.raises(HarnessError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.safetensors", Everything())
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(HarnessError, match="is not a checkpoint of this harness"):
        load_checkpoint(tmp_path / "other.safetensors", Everything())


def test_another_models_names_shapes_and_types_are_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save(path, nn.Linear(3, 2))
    for model, complaint in [
        (nn.Linear(3, 2, bias=False), "bias is unknown"),
        (nn.Linear(4, 2), r"weight is float32\[2, 3\], expected float32\[2, 4\]"),
        (nn.Linear(3, 2).double(), "expected float64"),
        (nn.Sequential(nn.Linear(3, 2)), "0.weight is missing"),
    ]:
        with pytest.raises(HarnessError, match=complaint):
            load_checkpoint(path, model)


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save(path, nn.Linear(3, 2))
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save(path, nn.Linear(3, 2), config={"x": object()})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_state_that_is_not_a_tensor_is_refused(tmp_path):
    class Odd(nn.Linear):
        def get_extra_state(self):
            return {"counts": 3}

        def set_extra_state(self, state): ...

    with pytest.raises(PluginError, match="tensors only"):
        save(tmp_path / "checkpoint.safetensors", Odd(2, 2))
    assert not list(tmp_path.iterdir())
