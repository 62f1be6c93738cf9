"""The authors' stand-alone SaShiMi, run from a checkout of their repository; nothing of it is kept here.

`models/sashimi/sashimi.py` of state-spaces/s4 imports `models.s4.s4`, the name of a package of ours too: for
the time of its import that name means theirs. It needs einops. Of pytorch-lightning it uses a decorator of
log messages, for which the identity will do. Its Cauchy products are its CUDA extension's or pykeops' where
these are installed and the device is a GPU, the only one that it asks them for, else its plain torch code.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.errors import HarnessError

LAYER = Path("models/s4/s4.py")
NETWORK = Path("models/sashimi/sashimi.py")


class OriginalSaShiMi(nn.Module):
    """Their backbone between an embedding and a head, as in the training repository."""

    def __init__(self, checkout: Path, vocab_size: int, device: torch.device, **options: Any) -> None:
        super().__init__()
        self.start_token = vocab_size // 2
        backend = "cuda" if device.type == "cuda" else "naive"
        self.backbone = network_of(checkout).Sashimi(mode="nplr", backend=backend, **options)
        self.embedding = nn.Embedding(vocab_size, self.backbone.d_model)
        self.head = nn.Linear(self.backbone.d_model, vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Long[B, L] -> logits Float[B, L, V], L a multiple of all pooling factors."""
        before = F.pad(tokens[:, :-1], (1, 0), value=self.start_token)
        return self.head(self.backbone(self.embedding(before))[0])


def network_of(checkout: Path) -> Any:
    """Their module with the class `Sashimi`.

    Raises: HarnessError if this is no such checkout, or a package is missing that theirs imports.
    """
    for path in (LAYER, NETWORK):
        if not (checkout / path).is_file():
            raise HarnessError(f"{checkout} has no {path}: name a checkout of github.com/state-spaces/s4")
    lightning = ModuleType("pytorch_lightning.utilities")
    lightning.rank_zero_only = lambda function: function  # type: ignore[attr-defined]
    logging.getLogger("original_s4").setLevel(logging.ERROR)  # that there is no CUDA extension
    try:
        with _known_as({"pytorch_lightning.utilities": lightning}):
            layer = _module("original_s4", checkout / LAYER)
        with _known_as({"models.s4.s4": layer}):
            return _module("original_sashimi", checkout / NETWORK)
    except ImportError as error:
        raise HarnessError(f"the original SaShiMi cannot be imported: {error}; pip install einops") from error


def _module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def _known_as(modules: dict[str, ModuleType]) -> Iterator[None]:
    """Inside the block these names are imported as these modules, and what is imported leaves no path."""
    before, path = {name: sys.modules.get(name) for name in modules}, list(sys.path)
    sys.modules.update(modules)
    try:
        yield
    finally:
        sys.path[:] = path
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
