"""Published weights of the SC09 classifier, from a file of the user's, read without running its code.

Known layouts:
- a state dict, plain (an export of the authors' weights in RF5/simple-speech-commands), or inside the
  checkpoint that the authors' training script writes; as .pt/.pth, or .safetensors;
- the whole module, pickled (`sc09_classifier/resnext.pth` of the SaShiMi release). Unpickling such a
  file runs whatever it names. Here torch's own reader of weights reads it, which runs nothing, with the
  module's classes replaced by empty ones that only take what is put into them; the tensors are then
  looked up by name. A file that names anything but layers is refused.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.errors import HarnessError
from harness.evaluation.classifier.resnext import ResNeXt

CLASSES = 10
"""zero to nine, in this order."""

WRAPPERS = frozenset({"DataParallel", "CifarResNeXt", "ResNeXtBottleneck", "ResNextWrapper"})
"""Classes of the published files, whatever the module they were defined in was called."""
LAYERS = "torch.nn.modules."
NESTED = ("state_dict", "model_state_dict", "model")
"""Where a checkpoint keeps its state dict."""
PREFIXES = ("module.", "model.")

CONVERSION = """
  import torch
  module = torch.load({name!r}, map_location="cpu", weights_only=False)   # runs code of the file
  torch.save(module.state_dict(), "classifier-weights.pt")
"""


class WeightsError(HarnessError):
    """A file of weights that cannot be used."""


class _Empty:
    """Stands for a class that a file names: holds what the file says of an instance, does nothing."""


def load_network(path: Path) -> ResNeXt:
    """The published network with the file's weights. Raises: WeightsError"""
    found = {_plain_name(name): value for name, value in read_tensors(path).items()}
    with torch.device("meta"):  # no weights of its own
        network = ResNeXt(CLASSES)
    expected = network.state_dict()
    # Older files lack the counters of batches, which evaluation does not need.
    counters = {name: torch.tensor(0) for name in expected if name.endswith("num_batches_tracked")}
    found = {**counters, **found}
    wrong = sorted(
        name
        for name in expected.keys() | found.keys()
        if name not in expected or name not in found or expected[name].shape != found[name].shape
    )
    if wrong:
        raise WeightsError(
            f"{path} holds no weights of the published classifier (ResNeXt-29 8x64, one channel in, ten "
            f"classes out): {len(wrong)} tensors are missing, unknown or of another shape, like {wrong[0]!r}"
        )
    network.load_state_dict(found, assign=True)
    return network.eval()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file by name. Runs no code of the file. Raises: WeightsError"""
    if not path.is_file():
        raise WeightsError(f"there is no file {path} with a classifier's weights")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError, OSError, EOFError, pickle.UnpicklingError):
        unknown = []  # written by torch before 1.6, or no such file at all: the reader knows
    refused = [name for name in unknown if not _is_layer(name)]
    if refused:
        raise WeightsError(_unreadable(path, f"it names {', '.join(sorted(refused)[:3])}, which is no layer"))
    stand_ins = [(type(name.rpartition(".")[2], (_Empty,), {}), name) for name in unknown]
    try:
        with torch.serialization.safe_globals(stand_ins):  # type: ignore[arg-type]
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        raise WeightsError(_unreadable(path, str(error).partition("\n")[0])) from None
    return dict(_tensors(content))


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot read {path}: {error}; get it again") from None


def _is_layer(name: str) -> bool:
    module, _, cls = name.rpartition(".")
    return cls in WRAPPERS or f"{module}.".startswith(LAYERS)


def _tensors(content: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Of a state dict, of a checkpoint around one, or of a module."""
    if isinstance(content, _Empty):
        parts = vars(content)
        for kind in ("_parameters", "_buffers"):
            for own, value in (parts.get(kind) or {}).items():
                if isinstance(value, Tensor):
                    yield f"{name}{own}", value.detach()
        for own, module in (parts.get("_modules") or {}).items():
            yield from _tensors(module, f"{name}{own}.")
    elif isinstance(content, Mapping):
        nested = next(
            (content[key] for key in NESTED if isinstance(content.get(key), Mapping | _Empty)), None
        )
        if nested is not None:
            yield from _tensors(nested)
        else:
            yield from (
                (str(key), value.detach()) for key, value in content.items() if isinstance(value, Tensor)
            )


def _plain_name(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _unreadable(path: Path, reason: str) -> str:
    return (
        f"cannot read {path} as weights without running its code: {reason}. If you trust whoever made it, "
        "convert it where its classes can be imported (for the SaShiMi release: models/sashimi/"
        "sc09_classifier of state-spaces/s4) and name the new file:"
        f"{CONVERSION.format(name=path.name)}"
    )
