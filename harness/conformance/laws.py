"""The laws. Each is a function that raises Violation; its name, in words, is the law's.

It may return a remark. Adding a law is adding a function, and its name to a tuple at the end.

Shapes: B batch, L length, D width (of a model's logits: the vocabulary).
"""

from __future__ import annotations

import io
import itertools
from typing import Any

import torch
from torch import Tensor, nn

from harness.conformance.probes import (
    SEED,
    Influence,
    allocated_bytes,
    assert_close,
    assert_identical,
    assert_untouched,
    difference,
    prepared,
    run,
    scale,
    state_bytes,
)
from harness.conformance.subjects import ModelSubject, Subject
from harness.conformance.verdict import Violation
from harness.contracts import TemporalMixer, can_resume

METHODS = ("initial_state", "step", "state_size")
LENGTH = 24
"""Positions of a causality check, each of which is disturbed in turn."""
LONG = 161
"""No multiple of a pooling factor, and beyond the chunks into which scans cut a sequence."""


def construction(subject: Subject) -> None:
    """It can be built, is a torch module and has every method of its contract."""
    module = subject.build(SEED)
    if not isinstance(module, nn.Module):
        raise Violation(f"{type(module).__name__} is not a torch.nn.Module; derive it from one")
    missing = [name for name in METHODS if not callable(getattr(module, name, None))]
    if type(module).forward is nn.Module.forward:  # torch's own, which only raises
        missing.append("forward")
    if missing:
        raise Violation(
            f"{type(module).__name__} lacks {', '.join(missing)}; "
            f"see {subject.contract.__name__} in harness.contracts"
        )


def shape(subject: Subject) -> None:
    """Floating-point, finite outputs of the right shape, from forward and from step."""
    module, inputs = prepared(subject), subject.inputs(2, 17)
    expected = subject.outputs(inputs)
    with torch.no_grad():
        module.eval()
        step_by_step, _ = subject.rollout(module, inputs)
    for method, outputs in (("forward", run(module, inputs)), ("step", step_by_step)):
        if tuple(outputs.shape) != expected:
            raise Violation(
                f"inputs {list(inputs.shape)} give outputs {list(outputs.shape)} from {method}, "
                f"expected {list(expected)}; use the vocabulary size or width given to __init__"
            )
        if not outputs.is_floating_point():
            raise Violation(f"{method} returns {outputs.dtype}; return floating-point values")
        _refuse_unbounded(outputs, method)


def causality(subject: Subject) -> str:
    """What comes later changes nothing, to the bit."""

    def probe(module: nn.Module, dtype: torch.dtype, training: bool) -> Influence:
        inputs = subject.inputs(2, LENGTH, dtype)
        other = subject.disturb(inputs)
        before = run(module, inputs, training)
        worst = Influence(0.0, scale(before), "")
        for t in range(LENGTH):
            changed = torch.cat([inputs[:, :t], other[:, t:]], dim=1)
            after = run(module, changed, training)
            moved = difference(before, after)[:, : t + subject.ahead].amax(0)
            if moved.numel() and float(moved.max()) > worst.amount:
                place = f"output {int(moved.argmax())}, when inputs {t} to {LENGTH - 1} were changed,"
                worst = Influence(float(moved.max()), scale(before), place)
        return worst

    rule = "[:, :t] alone" if subject.ahead else "up to and including t"
    return assert_untouched(
        subject, probe, f"output t may depend on inputs {rule}: check shifts, masks, padding, norms"
    )


def forward_equals_step(subject: Subject) -> None:
    """What is evaluated in parallel is what is generated one by one."""
    module, inputs = prepared(subject), subject.inputs(2, LONG)
    parallel = run(module, inputs)
    with torch.no_grad():
        step_by_step, _ = subject.rollout(module, inputs)
    advice = "the state must carry all that forward sees, from the first position on"
    assert_close(parallel, step_by_step, "forward and step by step", advice)


@torch.no_grad()
def chunks_equal_the_whole(subject: Subject) -> str | None:
    """With `resume`, a sequence may be read in chunks, and continued by `step`."""
    module: Any = prepared(subject).eval()
    if not can_resume(module):
        return "it has no `resume`, which is optional"
    period = getattr(module, "period", 1)
    inputs = subject.inputs(2, max(LONG, 3 * period + LENGTH))
    whole = run(module, inputs)
    beginnings = {"resume": lambda x: module.resume(x, module.initial_state(2))}
    if subject.contract is TemporalMixer:  # a model's state after `step` does not know the last token
        beginnings |= {
            "resume from None": lambda x: module.resume(x, None),
            "step": lambda x: subject.rollout(module, x),
        }
    endings = {
        "resume": lambda state, cut: module.resume(inputs[:, cut:], state),
        "step": lambda state, cut: subject.rollout(module, inputs[:, : cut + LENGTH], state, first=cut),
    }
    advice = "the state must carry all that a later chunk has to know of the earlier ones"
    for cut in (period, 2 * period + 1):
        for (begun, begin), (ended, end) in itertools.product(beginnings.items(), endings.items()):
            head, state = begin(inputs[:, :cut])
            if state is None and cut % period:
                continue
            joined = torch.cat((head, end(state, cut)[0]), dim=1)
            what = f"the whole and {begun} up to position {cut}, then {ended},"
            assert_close(whole[:, : joined.shape[1]], joined, what, advice)
    return None


def batch_independence(subject: Subject) -> str:
    """A row of the batch does not know the others."""

    def probe(module: nn.Module, dtype: torch.dtype, training: bool) -> Influence:
        inputs = subject.inputs(3, LENGTH, dtype)
        changed = torch.cat([inputs[:1], subject.disturb(inputs)[1:]])
        before, after = run(module, inputs, training), run(module, changed, training)
        moved = difference(before, after)[0]
        place = f"output {int(moved.argmax())} of row 0, when only rows 1 and 2 were changed,"
        return Influence(float(moved.max()), scale(before), place)

    advice = "share nothing across the batch: no batch statistics, no normalisation over axis 0"
    remark = assert_untouched(subject, probe, advice)
    module, inputs = prepared(subject), subject.inputs(3, LENGTH)
    together, alone = run(module, inputs)[1:2], run(module, inputs[1:2])
    assert_close(together, alone, "a row among others and the same row alone", advice)
    return remark


def any_length(subject: Subject) -> None:
    """Short, odd and prime lengths work, alone and in a batch, and a prefix is a prefix."""
    module, inputs = prepared(subject), subject.inputs(3, LONG)
    advice = "pad and trim inside the model, so that any length of at least 1 works"
    for batch_size in (1, 3):
        whole = run(module, inputs[:batch_size])
        for length in (1, 2, 3, 5, 7, 16, 31, 33, 128, LONG):
            part = run(module, inputs[:batch_size, :length])
            _refuse_unbounded(part, f"forward of {batch_size} rows of length {length}")
            what = f"outputs of length {length} and the start of those of length {LONG}, batch {batch_size},"
            assert_close(whole[:, :length], part, what, advice)


def gradients(subject: Subject) -> None:
    """Every parameter is reached by a finite gradient that is not zero throughout."""
    reached: set[str] = set()
    for length in (32, 512):  # a coarse level may need the longer one before it matters
        module = prepared(subject).train()
        names = {name for name, p in module.named_parameters() if p.requires_grad}
        if names <= reached:
            return
        inputs = subject.inputs(2, length)
        subject.loss(module(inputs), inputs).backward()
        for name, parameter in module.named_parameters():
            if parameter.grad is None:
                continue
            broken = int((~parameter.grad.isfinite()).sum())
            if broken:
                raise Violation(
                    f"the gradient of {name} has {broken} of {parameter.numel()} values that are not "
                    f"finite, at length {length}; look for 0/0, sqrt at 0, or log of 0 behind it"
                )
            if parameter.grad.any():
                reached.add(name)
    if missed := sorted(names - reached):
        raise Violation(
            f"no gradient reaches {', '.join(missed)}, even at length 512; use the parameter, "
            f"remove it, or freeze it with requires_grad_(False)"
        )


def save_and_load(subject: Subject) -> None:
    """A state_dict holds all that outputs depend on."""
    module, inputs = prepared(subject), subject.inputs(2, LENGTH)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other = subject.blank(SEED + 1)
    other.load_state_dict(torch.load(file, weights_only=True))
    advice = "keep everything learned or drawn in parameters or persistent buffers"
    assert_identical(run(module, inputs), run(other, inputs), "outputs before saving and after", advice)


def same_seed_same_result(subject: Subject) -> None:
    """torch.manual_seed decides the initialisation, alone."""
    first, second = subject.build(SEED), subject.build(SEED)
    advice = "draw random numbers from torch's global generator only"
    again = second.state_dict()
    for name, value in first.state_dict().items():
        if not torch.equal(value, again[name]):
            raise Violation(f"two instances built after one torch.manual_seed differ in {name}; {advice}")
    inputs = subject.inputs(2, LENGTH)
    assert_identical(run(first, inputs), run(second, inputs), "outputs of two equal instances", advice)


def different_seeds_differ(subject: Subject) -> None:
    """Seeds of a suite are independent draws of the initialisation."""
    first, second = (dict(subject.build(seed).named_parameters()) for seed in (SEED, SEED + 1))
    if first and all(torch.equal(value, second[name]) for name, value in first.items()):
        raise Violation(
            f"all {len(first)} parameters are equal after two different seeds; initialise from "
            f"torch's global generator, without a seed of your own"
        )


def evaluation_is_deterministic(subject: Subject) -> None:
    """In evaluation mode nothing is random."""
    module, inputs = prepared(subject), subject.inputs(2, LENGTH)
    first, second = (run(module, inputs, seed=seed) for seed in (SEED, SEED + 1))
    advice = "switch dropout and noise off when `self.training` is false"
    assert_identical(first, second, "two evaluations of the same inputs", advice)


def state_size(subject: Subject) -> str:
    """state_size is the number of bytes in the state's tensors, unfilled places included."""
    remark = ""
    for batch_size, length in ((1, 1), (2, 2), (3, 7), (1, 33)):
        module: Any = prepared(subject).eval()
        with torch.no_grad():
            _, state = subject.rollout(module, subject.inputs(batch_size, length))
        held, said = state_bytes(state), module.state_size(batch_size, length)
        if said != held:
            raise Violation(
                f"state_size({batch_size}, {length}) says {said} bytes, the state's tensors have {held}; "
                f"add up elements times bytes of each over all tensors of the state after {length} steps"
            )
        if (allocated := allocated_bytes(state)) > held:
            remark = f"{held} bytes are views that keep {allocated} allocated; clone them to free the rest"
    return remark


def fit_sees_the_clips_alone(subject: ModelSubject) -> None:
    """Neither the padding nor the cut into batches changes what is fitted; fitting again starts anew."""
    tokens, lengths = subject.clips()
    inside = torch.arange(tokens.shape[1]) < lengths[:, None]
    repadded = torch.where(inside, tokens, subject.disturb(tokens))
    pair = [(tokens[:2], lengths[:2]), (tokens[2:], lengths[2:])]
    fitted = {}
    for name, batches in (("clips", [(tokens, lengths)]), ("padding", [(repadded, lengths)]), ("cut", pair)):
        module = subject.blank(SEED)
        module.fit(batches)
        fitted[name] = run(module, tokens)
    module.fit(pair)
    for other, what, advice in (
        (fitted["padding"], "other padding", "leave out tokens at and beyond each true length"),
        (fitted["cut"], "the same clips in two batches", "let only the clips matter, not the batches"),
        (run(module, tokens), "a second fit", "start every fit from nothing"),
    ):
        assert_close(fitted["clips"], other, f"outputs after a fit and after one with {what}", advice)


def _refuse_unbounded(outputs: Tensor, source: str) -> None:
    broken = ~outputs.isfinite().flatten(2).all(-1)
    if broken.any():
        row, position = broken.nonzero()[0].tolist()
        raise Violation(
            f"{source}: {int(broken.sum())} of {broken.numel()} positions are not finite, first row "
            f"{row}, position {position}; look for log of 0, overflow, or a row of -inf in a softmax"
        )


SHARED_LAWS = (
    shape,
    causality,
    forward_equals_step,
    chunks_equal_the_whole,
    batch_independence,
    any_length,
    gradients,
    save_and_load,
    same_seed_same_result,
    evaluation_is_deterministic,
    state_size,
)
MODEL_LAWS = (*SHARED_LAWS, different_seeds_differ)
FIT_LAWS = (*SHARED_LAWS, fit_sees_the_clips_alone)
MIXER_LAWS = SHARED_LAWS
