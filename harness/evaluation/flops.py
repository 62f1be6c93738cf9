"""Parameters, and multiplications and additions a token, counted without running anything."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.overrides import TorchFunctionMode

from harness import configuration
from harness.errors import ConfigError, HarnessError
from harness.evaluation.flop_counter import FlopCounter
from harness.training.shortage import ran_out_of_memory

log = logging.getLogger("harness")

SMALL_MODEL = 20_000_000
"""Numbers in a model that is built with memory for them: quicker than torch's meta device, whose
shape functions are Python and take seconds to import."""

SMALL_RUN = 2_000_000_000
"""Parameters times length up to which such a model is run in order to count."""

LONGEST_RUN = 2048
"""Length up to which it is: attention's square of it has to fit into memory."""

MOST_PARTS = 12_000
"""Modules of a model; the largest published ones have a quarter, and a search for the width of one with
more would build for minutes."""

_rebuild: WeakKeyDictionary[nn.Module, Callable[[], nn.Module]] = WeakKeyDictionary()
"""For a model from `build_to_count`, how to build it the other way: without memory, or with it."""


def build_to_count(spec: Any, *, vocab_size: int) -> nn.Module:
    """The model a spec names, for counting alone: a large one without memory for its weights.

    A large one that torch's meta device cannot build gets its memory, and a warning says so.
    Raises: ConfigError, also for a model of more than `MOST_PARTS` modules; PluginError
    """
    found = configuration.resolve("models", spec)
    with _not_too_many_parts(found.name):
        return _built(found, vocab_size)


@contextmanager
def _not_too_many_parts(name: str) -> Iterator[None]:
    parts = 0

    def count(*_: object) -> None:
        nonlocal parts
        parts += 1
        if parts > MOST_PARTS:
            raise ConfigError("model", f"{name} would have more than {MOST_PARTS:,} modules")

    hook = register_module_module_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _built(found: configuration.Resolved, vocab_size: int) -> nn.Module:
    """With memory where that is little, else without; see `build_to_count`."""

    def with_memory() -> nn.Module:
        with torch.random.fork_rng(devices=[]), _one_thread():
            return found.cls(found.config, vocab_size=vocab_size)

    def without() -> nn.Module:
        with torch.device("meta"), _WithoutDrawing():
            return found.cls(found.config, vocab_size=vocab_size)

    try:
        with _NotMuchMemory():
            model = with_memory()
        _rebuild[model] = without
        return model
    except _TooMuchMemory:
        pass
    except Exception as failure:  # one tensor was too large to be made and looked at
        if not ran_out_of_memory(failure):
            raise
    try:
        model = without()
    except HarnessError:
        raise
    except Exception as error:
        _warn(found.name, error)
        try:
            return with_memory()
        except Exception as failure:
            if not ran_out_of_memory(failure):
                raise
            raise ConfigError("model", f"{found.name} is too large for this machine's memory") from None
    _rebuild[model] = with_memory
    return model


class _TooMuchMemory(Exception):
    """A model grew beyond `SMALL_MODEL` while it was built."""


class _NotMuchMemory(TorchFunctionMode):
    """Stops the making of tensors once they hold more than `SMALL_MODEL` numbers."""

    MAKERS = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.tensor)

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in self.MAKERS:
            self.numbers += result.numel()
            if self.numbers > SMALL_MODEL:
                raise _TooMuchMemory
        return result


class _WithoutDrawing(TorchFunctionMode):
    """Leaves out drawing initial values on the meta device, where there are none.

    Torch would work out there what drawing and scaling do, in Python that takes seconds to import.
    """

    DRAWS = (
        *(Tensor.uniform_, Tensor.normal_, Tensor.exponential_, Tensor.bernoulli_),
        *(Tensor.erfinv_, Tensor.mul_, Tensor.clamp_),
    )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.DRAWS and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def count_parameters(model: nn.Module) -> int:
    """Real numbers: shared tensors count once, a complex one counts twice."""
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters())


def flops_per_token(model: nn.Module, length: int) -> float:
    """Multiplications plus additions of a forward pass over `length` tokens, divided by `length`.

    Torch counts matrix products, convolutions and attention (the masked half of its square
    included); to these comes what layers report themselves (`contracts.report_flops`). Elementwise
    work is not counted. Runs on the model's own device; a model from `build_to_count` is not run,
    where that would take long, but followed on the meta device, unless it needs values there, which
    a warning says.
    """
    other = _rebuild.get(model)
    has_memory = not any(parameter.is_meta for parameter in model.parameters())
    small = length <= LONGEST_RUN and count_parameters(model) * length <= SMALL_RUN
    if other is None or (has_memory and small):
        return _count(model, length)
    try:
        return _count(other() if has_memory else model, length)
    except HarnessError:
        raise
    except Exception as error:
        _warn(type(model).__name__, error)
        return _count(model if has_memory else other(), length)


@torch.no_grad()
def _count(model: nn.Module, length: int) -> float:
    tensors = [*model.parameters(), *model.buffers()]
    device = tensors[0].device if tensors else torch.device("cpu")
    with _one_thread(), FlopCounter() as counter:
        model(torch.zeros(1, length, dtype=torch.long, device=device))
    return counter.total / length


@contextmanager
def _one_thread() -> Iterator[None]:
    """Many small operations: on a busy machine several threads would wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _warn(name: str, error: Exception) -> None:
    reason = str(error).partition("\n")[0]
    log.warning("%s does not work on torch's meta device (%s); counting it takes a real run", name, reason)
