"""A training step of the authors' Poolformer, run by a Python that has JAX from a checkout of their
repository.

Started by `original_poolformer`, and nothing of theirs is kept here. Of their code it runs the model, its
loss and its optimiser; the clipping of gradients, the skipping of an update and the averaged weights around
them are written anew, as their `train.py` starts a cluster when it is imported. It answers in lines of
JSON: one when the weights are written, one after the first step, which holds the compiling, then one for
each line that it reads.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

GRADIENT_CLIP, SKIP_THRESHOLD, AVERAGE_RATE = 200.0, 1000.0, 0.999
"""Their defaults."""


def main(checkout: Path, order: dict[str, Any], answer: Any) -> None:
    """`order`: settings, unroll, threads, and the files of tokens and of weights."""
    cores = sorted(os.sched_getaffinity(0))[: order["threads"]]
    os.sched_setaffinity(0, cores)  # before JAX counts them
    os.environ["JAX_PLATFORMS"] = "cpu"
    module = their_model(checkout)
    import jax
    import numpy as np

    if order["unroll"] is not None:
        unroll_by(order["unroll"])
    tokens = np.load(order["tokens"])
    hyper = hyper_parameters(module, order["settings"], len(tokens))
    shortest = math.prod(order["settings"]["pool_temporal"])  # no weight depends on the length
    start = clips_of(tokens[:, :shortest])
    weights = jax.jit(hyper.model.init)(jax.random.PRNGKey(0), start, jax.random.PRNGKey(0))
    paths = jax.tree_util.tree_flatten_with_path(weights["params"])[0]
    arrays = {"/".join(key.key for key in path): np.asarray(leaf) for path, leaf in paths}
    np.savez(order["weights"], **arrays)
    answer({"jax_version": jax.__version__})

    clips = clips_of(tokens)
    step = training_step(hyper)
    # where a step leaves it: from anywhere else the second step would be compiled anew
    everywhere = jax.sharding.NamedSharding(hyper._mesh(len(tokens)), jax.sharding.PartitionSpec())
    state = jax.device_put((weights, weights, hyper.optimizer.init(weights)), everywhere)
    started = time.perf_counter()
    state, loss = jax.block_until_ready(step(state, clips))
    answer({"loss_bits": float(loss), "first_step_s": time.perf_counter() - started})
    for _ in sys.stdin:
        state, loss = jax.block_until_ready(step(state, clips))
        answer({"loss_bits": float(loss)})


def clips_of(tokens: Any) -> Any:
    """int[B, L] as their code takes it: one channel, all clips whole."""
    from jax import numpy as jnp

    lengths = jnp.full(len(tokens), tokens.shape[1], "int32")
    return sys.modules["data"].PaddedArray(jnp.asarray(tokens[:, :, None], "int32"), lengths)


def their_model(checkout: Path) -> Any:
    """Their `models.patch_autoregressive`, without what their data and their other models import."""

    def register(name: str, **attributes: Any) -> ModuleType:
        module = ModuleType(name)
        module.__dict__.update(attributes)
        sys.modules[name] = module
        return module

    from jax.tree_util import register_dataclass

    fields = [("raw", Any), ("lengths", Any)]
    clips = dataclasses.make_dataclass("PaddedArray", fields, frozen=True)
    clips.__len__ = lambda self: len(self.raw)  # type: ignore[attr-defined]
    register_dataclass(clips, data_fields=["raw", "lengths"], meta_fields=[])
    register("data", PaddedArray=clips)
    register("models", __path__=[str(checkout / "models")])  # their __init__ imports every model
    sys.path.insert(0, str(checkout))
    return __import__("models.patch_autoregressive", fromlist=["PatchARHyperparams"])


def unroll_by(count: int) -> None:
    """Their scan unrolled so often; they ask for 128, which takes XLA much memory and time to compile."""
    from models.efficient_scan import scan  # type: ignore[import-not-found]  # theirs

    scan.linear_scan = _with(scan.linear_scan, unroll=count)


def _with(function: Any, **fixed: Any) -> Any:
    @functools.wraps(function)
    def wrapped(*args: Any, **options: Any) -> Any:
        return function(*args, **{**options, **fixed})

    return wrapped


def hyper_parameters(module: Any, settings: dict[str, Any], batch: int) -> Any:
    from models.recurrence import RNNHyperparams  # type: ignore[import-not-found]  # theirs

    def tuples(value: Any) -> Any:
        return tuple(tuples(item) for item in value) if isinstance(value, list) else value

    plain = {name: tuples(value) for name, value in settings.items() if name != "rnn"}
    return module.PatchARHyperparams(
        **plain,
        rnn=RNNHyperparams(**settings["rnn"]),
        batch_size=batch,
        data_num_channels=1,
        data_num_cats=256,
        data_baseline=128,
        data_num_training_samples=batch,
    )


def training_step(hyper: Any) -> Any:
    """(weights, averages, optimiser), clips -> those afterwards, and the loss in bits."""
    import jax
    import optax
    from jax import numpy as jnp

    def loss_of(weights: Any, clips: Any) -> Any:
        keys = jax.random.split(jax.random.PRNGKey(0))
        return hyper.model.apply(weights, clips, keys[0], training=True, rngs={"dropout": keys[1]})[0]

    @jax.jit  # as theirs, without giving up the buffers of the state
    def step(state: Any, clips: Any) -> Any:
        weights, averages, optimiser = state
        loss, gradients = jax.value_and_grad(loss_of)(weights, clips)
        norm = optax.global_norm(gradients)
        scale = jnp.minimum(GRADIENT_CLIP / (norm + 1e-6), 1)
        gradients = jax.tree.map(lambda g: scale * g, gradients)
        updates, advanced = hyper.optimizer.update(gradients, optimiser, weights)
        moved = optax.apply_updates(weights, updates)
        averaged = jax.tree.map(lambda w, e: (1 - AVERAGE_RATE) * w + AVERAGE_RATE * e, moved, averages)
        skip = jnp.isnan(loss) | ~(norm < SKIP_THRESHOLD)
        after = jax.tree.map(lambda old, new: jnp.where(skip, old, new), state, (moved, averaged, advanced))
        return after, loss

    return step


if __name__ == "__main__":
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever their code prints goes to stderr

    def write(message: dict[str, Any]) -> None:
        lines.write(json.dumps(message) + "\n")
        lines.flush()

    main(Path(sys.argv[1]), json.loads(sys.argv[2]), write)
