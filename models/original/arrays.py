"""What corresponds to what: the authors' arrays as read out of our parameters, layer by layer.

Their arrays are named by the paths of their flax modules, such as
``temporal_pyramid/inner_layer/up_blocks_0/layer/RGLRU_0/Dense_0/kernel``. Each correspondence is
written down once, as a way to read one of their arrays out of one of our parameters.

What differs: their linear kernels are (inputs, outputs); convolutional up-pool kernels are stored
reversed in time; the two gates of an RG-LRU are separate, the input's first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import singledispatch

from torch import Tensor, nn

from harness.errors import HarnessError
from models.embedding import ScalarEmbedding, TableEmbedding
from models.initialization import Dense
from models.mixers.convolution import Convolution, ConvolutionThen
from models.mixers.diagonal_rnn import DiagonalRNN
from models.mixers.lru import LRU
from models.mixers.recurrence import RingDecay
from models.mixers.rg_lru import RGLRU, BlockDiagonalGates
from models.poolformer import Poolformer
from models.pooling import LinearDownPool, LinearUpPool
from models.residual import MLP, ResBlock
from models.skip_block import SkipBlock, TemporalStack

Read = Callable[[Tensor], Tensor]
Array = tuple[str, str, Read]
"""Their name, our parameter's name, and how theirs is read out of ours."""


@singledispatch
def arrays_of(module: nn.Module) -> Iterator[Array]:
    """What corresponds to what in a layer or a whole model.

    Raises: HarnessError for a layer that the authors' code does not have.
    """
    raise HarnessError(f"the original Poolformer code has no {type(module).__name__}")


def _same(parameter: Tensor) -> Tensor:
    return parameter


def _transposed(weight: Tensor) -> Tensor:
    return weight.mT


def _below(theirs: str, ours: str, module: nn.Module) -> Iterator[Array]:
    for name, parameter, read in arrays_of(module):
        yield f"{theirs}/{name}", f"{ours}.{parameter}", read


@arrays_of.register
def _(module: Dense) -> Iterator[Array]:
    yield "kernel", "weight", _transposed
    yield "bias", "bias", _same


@arrays_of.register
def _(module: nn.LayerNorm) -> Iterator[Array]:
    yield "scale", "weight", _same
    yield "bias", "bias", _same


@arrays_of.register
def _(module: nn.RMSNorm) -> Iterator[Array]:
    yield "scale", "weight", _same


@arrays_of.register
def _(module: RingDecay) -> Iterator[Array]:
    yield "a_real_param", "rate", _same
    if module.phase is not None:
        yield "a_imag_param", "phase", _same


@arrays_of.register
def _(module: BlockDiagonalGates) -> Iterator[Array]:
    def blocks(bias: Tensor) -> Tensor:
        return bias.unflatten(1, (module.blocks, -1))

    # ours has the recurrence gate first, theirs the input gate
    yield "BlockDiagonalLinear_0/W", "weight", lambda weight: weight[1]
    yield "BlockDiagonalLinear_0/b", "bias", lambda bias: blocks(bias)[1]
    yield "BlockDiagonalLinear_1/W", "weight", lambda weight: weight[0]
    yield "BlockDiagonalLinear_1/b", "bias", lambda bias: blocks(bias)[0]


@arrays_of.register
def _(module: RGLRU) -> Iterator[Array]:
    yield from _below("Dense_0", "input", module.input)
    for name, parameter, read in arrays_of(module.gates):
        yield name, f"gates.{parameter}", read
    for name, parameter, read in arrays_of(module.decay):
        yield name, f"decay.{parameter}", read
    yield from _below("Dense_1", "output", module.output)


@arrays_of.register
def _(module: LRU) -> Iterator[Array]:
    yield from _below("Dense_0", "input", module.input)
    for name, parameter, read in arrays_of(module.decay):
        yield name, f"decay.{parameter}", read
    yield from _below("Dense_1", "output", module.output)


@arrays_of.register
def _(module: DiagonalRNN) -> Iterator[Array]:
    yield "a_logit", "decay_logit", _same
    for index, name in enumerate(("direct", "input", "output")):
        yield from _below(f"Dense_{index}", name, getattr(module, name))


@arrays_of.register
def _(module: Convolution) -> Iterator[Array]:
    yield "Conv_0/kernel", "weight", lambda weight: weight.permute(2, 1, 0)
    yield "Conv_0/bias", "bias", _same


@arrays_of.register
def _(module: LinearDownPool) -> Iterator[Array]:
    if module.groups == 1:
        yield "Dense_0/kernel", "weight", lambda weight: weight.flatten(0, 2)
        yield "Dense_0/bias", "bias", _same
    else:  # (P, inputs of a group, all outputs)
        yield "Conv_0/kernel", "weight", lambda weight: weight.transpose(1, 2).flatten(2)
        yield "Conv_0/bias", "bias", _same


@arrays_of.register
def _(module: LinearUpPool) -> Iterator[Array]:
    if module.groups == 1:
        yield "Dense_0/kernel", "weight", lambda weight: weight[:, 0].transpose(0, 1).flatten(1)
        yield "Dense_0/bias", "bias", lambda bias: bias.flatten()
    else:
        yield "Conv_0/kernel", "weight", lambda weight: weight.transpose(1, 2).flatten(2).flip(0)
        yield "Conv_0/bias", "bias", _same


# Where a flax block keeps its mixer; a convolution lies in the block itself.
_NAMES = {RGLRU: "RGLRU_0", LRU: "LRU_0", DiagonalRNN: "RNN_0", MLP: "Dense_0"}


def _inside(prefix: str, ours: str, layer: nn.Module) -> Iterator[Array]:
    if isinstance(layer, ConvolutionThen):
        yield from _inside(prefix, f"{ours}.convolution", layer.convolution)
        yield from _below(f"{prefix}/LayerNorm_0", f"{ours}.norm", layer.norm)
        yield from _inside(prefix, f"{ours}.mixer", layer.mixer)
    else:
        name = _NAMES.get(type(layer))
        yield from _below(f"{prefix}/{name}" if name else prefix, ours, layer)


@arrays_of.register
def _(module: ResBlock) -> Iterator[Array]:
    if module.branch_scale != 1:
        raise HarnessError("the original Poolformer code has no constant scale of branches")
    if not isinstance(module.norm, nn.Identity):
        yield from _below(f"{type(module.norm).__name__}_0", "norm", module.norm)
    yield from _inside("layer", "layer", module.layer)
    dense = [("gate", module.gate)] if module.gate is not None else []
    for index, (name, layer) in enumerate([*dense, ("output", module.output)]):
        yield from _below(f"Dense_{index}", name, layer)


@arrays_of.register
def _(module: TemporalStack) -> Iterator[Array]:
    yield from _blocks("blocks", "", module)


def _blocks(theirs: str, ours: str, stack: TemporalStack) -> Iterator[Array]:
    for index, block in enumerate(stack):
        yield from _below(f"{theirs}_{index}", f"{ours}{index}", block)


@arrays_of.register
def _(module: SkipBlock) -> Iterator[Array]:
    if module.skip != "short":
        raise HarnessError(f"the original Poolformer code has no {module.skip!r} skip")
    yield from _blocks("down_blocks", "down.", module.down)
    yield from _below("down_pool", "down_pool", module.down_pool)
    yield from _below("inner_layer", "inner", module.inner)
    yield from _below("up_pool", "up_pool", module.up_pool)
    yield from _blocks("up_blocks", "up.", module.up)


@arrays_of.register
def _(module: Poolformer) -> Iterator[Array]:
    if isinstance(module.embedding, ScalarEmbedding):
        yield from _below("input_mlp", "embedding.linear", module.embedding.linear)
    elif isinstance(module.embedding, TableEmbedding):
        yield "input_embed/embedding", "embedding.weight", _same
    yield from _below("temporal_pyramid", "body", module.body)
    yield from _below("norm", "norm", module.norm)
    yield from _below("cls_head/final", "head", module.head)
