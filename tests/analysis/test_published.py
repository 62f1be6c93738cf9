"""Published numbers as data, and when one may stand beside ours."""

import csv
from dataclasses import replace

import pytest

from harness.analysis.published import FILE, QUANTITIES, Protocol, comparable, published

LIKELIHOOD = Protocol(
    dataset="sc09", dataset_version="v0.02", sample_rate=16000, length=16000, quantiser="mu_law",
    min_max=True, context=16000,
)  # fmt: skip
QUALITY = replace(
    LIKELIHOOD, extractor="published 0123456789ab", samples=2816, rejection="published", lengths="full",
    test_set_fid=0.021, test_set_inception_score=8.35,
)  # fmt: skip


def row(name):
    (found,) = (row for row in published() if row.name == name)
    return found


SASHIMI = row("sc09/sashimi")


def test_the_file_is_read_whole_and_every_row_has_a_name_of_its_own_a_source_and_a_number():
    with FILE.open(encoding="utf-8", newline="") as file:
        assert len(published()) == len(list(csv.DictReader(file)))
    assert len({row.name for row in published()}) == len(published())
    assert all(row.source and row.values() for row in published())
    assert {row.dataset for row in published("beethoven")} == {"beethoven"}


def test_numbers_are_those_of_the_sources():
    assert (SASHIMI.nll_bits_test, SASHIMI.fid, SASHIMI.parameters) == (1.891, 1.99, 4_100_000)
    mamba = row("sc09/mamba_unet")
    assert list(mamba.values().values()) == [1.852, 0.94, 6.26, 88.54, 0.52]
    assert row("youtubemix/sashimi").nll_bits_test == 1.294


def test_the_published_scripts_inception_score_is_not_called_by_the_name_of_the_definition():
    assert all(row.inception_score is None for row in published() if row.extractor == "sashimi")


def test_no_number_of_poolformer_is_claimed():
    assert not [row for row in published() if "poolformer" in row.model.lower()]


def test_numbers_of_one_transcription_are_marked_and_no_mark_is_a_misspelling():
    for found in published():
        assert set((found.unconfirmed or "").split()) <= found.values().keys()
    assert not row("beethoven/sashimi").confirmed("nll_bits_test")
    assert SASHIMI.confirmed("nll_bits_test") and not SASHIMI.confirmed("human_quality")


def test_a_likelihood_measured_in_the_same_way_is_comparable_with_the_reservations_said():
    verdict = comparable(SASHIMI, LIKELIHOOD)
    assert verdict.comparable
    assert "5.3 hours" in verdict.reason
    ours = replace(LIKELIHOOD, dataset="beethoven", dataset_version="hub, 4,328 recordings", length=128000,
                   context=128000, quantiser="linear")  # fmt: skip
    assert comparable(row("beethoven/sashimi"), ours) == (
        True,
        "the number rests on one third-party transcription",
    )


@pytest.mark.parametrize(
    ("difference", "reason"),
    [
        ({"dataset": "fsdd"}, "ours is on fsdd, theirs on sc09"),
        ({"dataset_version": "v0.01"}, "ours is on v0.01, theirs on v0.02"),
        ({"dataset_version": "part of v0.02: 10 of 38,908 clips"}, "ours is on part of v0.02"),
        ({"dataset_version": None}, "our version of the data set is not recorded"),
        ({"sample_rate": 8000}, "samples a second: ours 8000, theirs 16000"),
        ({"length": 8000}, "samples a clip: ours 8000, theirs 16000"),
        ({"quantiser": "linear"}, "quantisation: ours linear, theirs mu_law"),
        ({"quantiser": None}, "quantisation: ours not recorded, theirs mu_law"),
        ({"min_max": False}, "not stretched to span all levels"),
        ({"test_clips": 64}, "ours is on 64 clips of the test set, theirs on all"),
        ({"context": 2000}, "ours sees 2000 samples of context, theirs 16000"),
    ],
)
def test_whatever_differs_in_data_or_tokens_is_a_reason_against_a_likelihood(difference, reason):
    verdict = comparable(SASHIMI, replace(LIKELIHOOD, **difference))
    assert not verdict.comparable
    assert reason in verdict.reason


def test_all_reasons_are_said_at_once():
    assert comparable(SASHIMI, replace(LIKELIHOOD, sample_rate=8000, length=8000)).reason.count(";") == 1


def test_scores_by_the_published_classifier_on_as_many_clips_of_the_same_choice_are_comparable():
    for quantity in ("fid", "inception_score_sashimi", "modified_inception_score", "am_score"):
        assert comparable(SASHIMI, QUALITY, quantity).comparable


@pytest.mark.parametrize(
    ("difference", "reason"),
    [
        ({"extractor": "small 0123456789ab"}, "classifier small 0123456789ab, theirs by the published one"),
        ({"extractor": None}, "by the classifier of an unknown name"),
        ({"test_set_fid": None}, "it has not scored the test set"),
        ({"test_set_inception_score": 8.9}, "gives the test set FID 0.021 and inception score 8.90"),
        ({"samples": 256}, "ours is of 256 clips, theirs of 2816"),
        ({"samples": None}, "ours is of an unknown number of clips"),
        ({"rejection": "none"}, "rejection by likelihood: ours none, theirs published"),
        ({"lengths": "data"}, "cut to the lengths of recordings"),
        ({"dataset_version": "v0.01"}, "ours is on v0.01"),
    ],
)
def test_whatever_differs_in_classifier_or_clips_is_a_reason_against_a_score(difference, reason):
    verdict = comparable(SASHIMI, replace(QUALITY, **difference), "fid")
    assert not verdict.comparable
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("name", "quantity", "reason"),
    [
        ("sc09/diffwave (DiffWave's classifier)", "fid", "a classifier that was not published (diffwave's)"),
        ("sc09/diffwave (DiffWave's classifier)", "inception_score", "which definition their script has"),
        ("sc09/mamba_unet", "fid", "does not say how many clips were scored"),
        ("sc09/wavegan", "nll_bits_test", "has no published nll_bits_test"),
        ("sc09/sashimi", "human_quality", "nobody judged ours"),
    ],
)
def test_numbers_that_nothing_of_ours_can_stand_beside_say_why(name, quantity, reason):
    verdict = comparable(row(name), QUALITY, quantity)
    assert not verdict.comparable
    assert reason in verdict.reason


def test_what_is_no_quantity_is_a_defect():
    with pytest.raises(KeyError):
        comparable(SASHIMI, QUALITY, "source")
    assert "source" not in QUANTITIES


def test_the_protocol_is_read_from_a_row_and_its_configuration():
    config = {
        "data": {
            "name": "sc09",
            "sample_rate": 16000,
            "seconds": 1.0,
            "quantiser": "mu_law",
            "min_max": True,
        },
        "measure": [{"name": "efficiency"}, {"name": "nll", "max_clips": None}],
    }
    cells = {
        "dataset_version": "v0.02", "nll_context": 16000.0, "quality_extractor": "published 0123456789ab",
        "quality_samples": 2816.0, "quality_rejection": "published", "quality_lengths": "full",
        "fid_test_set": 0.021, "inception_score_sashimi_test_set": 8.35,
    }  # fmt: skip
    assert Protocol.of(cells, config) == QUALITY
    empty = Protocol.of({"dataset_version": float("nan"), "nll_context": ""}, {})
    assert empty == Protocol()
    assert not comparable(SASHIMI, empty).comparable
