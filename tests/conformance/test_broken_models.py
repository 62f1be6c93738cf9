"""Each law is broken in turn: it is the one that fails, and its message says what happened."""

import re

import pytest
from lawful import Lawful, LawfulCounter, LawfulMixer, broken
from unlawful import (
    CountsOnTop,
    CountsThePadding,
    DetachesAParameter,
    DrawsFromNumpy,
    ForgetsThatItsStateGrows,
    HasAFixedVocabulary,
    HasAnIdleParameter,
    HasGradientsThatAreNotFinite,
    IgnoresTheSeed,
    IsRandomInEvaluation,
    KeepsTheLastBatch,
    KeepsWeightsOutsideTheStateDict,
    LeaksBehindAZero,
    LeaksInTrainingOnly,
    LeaksTheFuture,
    LiesAboutItsState,
    LikesEvenLengths,
    LooksAcrossTheBatch,
    Overflows,
    PadsWrongly,
    Resumes,
    ResumesWholePeriodsOnly,
    ReturnsTokens,
    SeesItsOwnTarget,
    StartsAfreshInEveryChunk,
    StepsDifferently,
)

from harness.conformance import check_mixer, check_model

BROKEN = [
    (
        LeaksTheFuture,
        "causality",
        r"evaluation mode, output \d+, when inputs \d+ to 23 were changed,",
    ),
    (LeaksBehindAZero, "causality", "output t may depend on inputs"),
    (SeesItsOwnTarget, "causality", r"output \d+, when inputs \d+ to 23"),
    (LeaksInTrainingOnly, "causality", "in training mode"),
    (LeaksInTrainingOnly, "batch independence", "in training mode"),
    (StepsDifferently, "forward equals step", r"at position \d+ of 161, row \d .*the state must carry"),
    (
        StartsAfreshInEveryChunk,
        "chunks equal the whole",
        r"the whole and resume up to position 1, then resume, differ by .* at position \d+ of 161",
    ),
    (LooksAcrossTheBatch, "batch independence", "row 0, when only rows 1 and 2 were changed"),
    (
        LikesEvenLengths,
        "any length",
        r"it raised RuntimeError: .* \(unlawful.py, line \d+\)",
    ),
    (
        PadsWrongly,
        "any length",
        "outputs of length 1 and the start of those of length 161, batch 1,",
    ),
    (HasAFixedVocabulary, "shape", r"\[2, 17, 256\] from forward, expected \[2, 17, 64\]"),
    (Overflows, "shape", "2 of 34 positions are not finite, first row 0, position 11"),
    (ReturnsTokens, "shape", "torch.int64"),
    (HasGradientsThatAreNotFinite, "gradients", "head.bias has 64 of 64 values that are not finite"),
    (HasAnIdleParameter, "gradients", "no gradient reaches forgotten,"),
    (DetachesAParameter, "gradients", "no gradient reaches decay, head.weight, table.weight,"),
    (KeepsWeightsOutsideTheStateDict, "save and load", "persistent buffers"),
    (IgnoresTheSeed, "different seeds differ", "all 4 parameters are equal after two different seeds"),
    (DrawsFromNumpy, "same seed same result", "differ in decay; draw random numbers from torch's"),
    (IsRandomInEvaluation, "evaluation is deterministic", "switch dropout"),
    (LiesAboutItsState, "state size", r"state_size\(1, 1\) says 8 bytes, the state's tensors have 32"),
    (
        ForgetsThatItsStateGrows,
        "state size",
        r"state_size\(2, 2\) says 64 bytes, .* tensors have 80",
    ),
]

ALSO_BREAK = {  # consequences that cannot be told apart
    LeaksTheFuture: {"forward equals step", "any length"},
    LeaksBehindAZero: {"forward equals step", "any length"},
    SeesItsOwnTarget: {"forward equals step"},
    LeaksInTrainingOnly: {"causality", "batch independence"},
    PadsWrongly: set(),
    LikesEvenLengths: {"shape", "forward equals step"},
    Overflows: {"forward equals step", "any length", "gradients"},
    ReturnsTokens: {"gradients"},
    DetachesAParameter: {"forward equals step"},
    IsRandomInEvaluation: {"forward equals step", "any length", "batch independence"},
}


def test_what_keeps_the_laws_passes_them_all():
    verdicts = [*check_model(Lawful), *check_model(LawfulCounter), *check_mixer(LawfulMixer)]
    assert not broken([*verdicts, *check_model(Resumes), *check_model(ResumesWholePeriodsOnly)])


@pytest.mark.parametrize(
    ("model", "law", "message"), BROKEN, ids=[f"{model.__name__}-{law}" for model, law, _ in BROKEN]
)
def test_a_broken_law_is_the_one_that_fails_and_the_message_says_why(model, law, message):
    found = broken(check_model(model))
    assert re.search(message, found[law])
    assert set(found) - {law} <= ALSO_BREAK.get(model, set())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (CountsThePadding, "after one with other padding differ .*; leave out tokens at and beyond"),
        (CountsOnTop, "a second fit differ .*; start every fit from nothing"),
        (KeepsTheLastBatch, "the same clips in two batches differ"),
    ],
)
def test_a_fit_must_see_all_clips_and_nothing_else(model, message):
    found = broken(check_model(model))
    assert set(found) == {"fit sees the clips alone (fitted)"}
    assert re.search(message, found.popitem()[1])
