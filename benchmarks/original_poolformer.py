"""The authors' Poolformer in a process of its own: their code, from your checkout, in a Python that has
JAX."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from harness.errors import HarnessError

NETWORK = Path("models/patch_autoregressive.py")
"""Where a checkout of theirs has the model."""
STEP = Path(__file__).with_name("original_poolformer_step.py")


class OriginalPoolformer:
    """Its weights, and one training step on the same clips again and again.

    Attributes:
        weights: the initial ones by their names.
        loss_bits: of the last step.
        first_step_s: how long the first one took; it holds the compiling.
        jax_version: of the other Python.

    Raises: HarnessError with what their process said last, if it ends.
    """

    def __init__(
        self,
        python: Path,
        checkout: Path,
        settings: Mapping[str, Any],
        tokens: Tensor,
        *,
        threads: int,
        unroll: int | None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        np.save(folder / "tokens.npy", tokens.cpu().numpy())
        order = {
            "settings": dict(settings),
            "unroll": unroll,
            "threads": threads,
            "tokens": str(folder / "tokens.npy"),
            "weights": str(folder / "weights.npz"),
        }
        self._said = folder / "stderr"
        with self._said.open("w") as said:
            try:
                self._process = subprocess.Popen(
                    [python, STEP, checkout, json.dumps(order)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    text=True,
                )
            except OSError as error:
                raise HarnessError(f"{python} cannot be started: {error}") from error
        self.jax_version: str = self._answer()["jax_version"]
        with np.load(folder / "weights.npz") as arrays:
            self.weights = dict(arrays)
        first = self._answer()
        self.loss_bits: float = first["loss_bits"]
        self.first_step_s: float = first["first_step_s"]

    def step(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.loss_bits = self._answer()["loss_bits"]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return json.loads(line)
        code = self._process.wait()
        said = self._said.read_text().strip().rpartition("\n")[2]
        self._folder.cleanup()
        raise HarnessError(f"the original's process ended with code {code}: {said or 'it said nothing'}")
