"""A training shared among processes ends where one process would have ended."""

from functools import partial

import pytest
import torch
from several import dies, drawn, drifted, summed, together, trained

from harness.errors import HarnessError
from harness.training.config import TrainConfig
from harness.training.ranks import ALONE, ExchangeFailed
from harness.training.stopping import Stopped

CONFIG = TrainConfig(
    steps=5, batch_size=5, crop=20, warmup_steps=2, validate_every=2, validation_clips=3,
    learning_rate=0.01, epsilon=1e-4, clip_norm=0.5, ema_decay=0.8, schedule="cosine",
)  # fmt: skip
POOLFORMER = {"name": "poolformer", "width": 8, "layers": 1, "pooling": [2], "dropout": 0.0}
TRANSFORMER = {"name": "transformer", "width": 8, "layers": 1, "heads": 2, "dropout": 0.0}


def by(count, **options):
    """In each process: what a training by so many leaves, or the exception that it raised."""
    work = partial(trained, **{"model": POOLFORMER, "config": CONFIG} | options)
    return together(count, work) if count > 1 else [work(ALONE)]


def close(found, expected, tolerance):
    for name in ("losses", "curve", "weights"):
        torch.testing.assert_close(
            found[name], expected[name], rtol=tolerance, atol=tolerance, equal_nan=True, msg=name
        )


@pytest.mark.parametrize("model", [POOLFORMER, TRANSFORMER], ids=lambda model: model["name"])
@pytest.mark.parametrize(("double", "tolerance"), [(False, 1e-5), (True, 1e-10)], ids=["single", "double"])
def test_two_ranks_share_an_odd_ragged_batch_and_end_where_one_does(model, double, tolerance):
    (expected,) = by(1, model=model, double=double)
    first, second = by(2, model=model, double=double)
    close(first, expected, tolerance)
    assert first["columns"]["train_tokens"] == expected["columns"]["train_tokens"]
    assert "workers" not in expected["columns"] and first["columns"]["workers"] == 2
    # Not only close: every rank applies the same bits. The average is what both are left with.
    assert all(torch.equal(value, second["weights"][name]) for name, value in first["weights"].items())


def test_so_do_three_that_work_through_their_rows_in_parts(tmp_path):
    (expected,) = by(1, double=True)
    first, *_ = by(3, double=True, parts=2)  # two, two and one row
    close(first, expected, 1e-10)
    assert first["columns"]["gradient_accumulation"] == 2


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3)])
def test_a_stopped_training_continues_with_another_number_of_ranks(tmp_path, before, after):
    (expected,) = by(1, double=True)
    if before == 1:
        with pytest.raises(Stopped):
            by(1, double=True, path=tmp_path / "r", stop=3)
    else:
        stopped, other = by(before, double=True, path=tmp_path / "r", stop=3)
        assert isinstance(stopped, Stopped) and isinstance(other, ExchangeFailed)
    first, *_ = by(after, double=True, path=tmp_path / "r")
    assert [resume["at_step"] for resume in first["resumes"]] == [3]
    close({**first, "losses": expected["losses"][:3] + first["losses"]}, expected, 1e-10)


def test_with_dropout_it_continues_bit_by_bit_with_as_many(tmp_path):
    noisy = {**POOLFORMER, "dropout": 0.3}
    straight, _ = by(2, model=noisy)
    by(2, model=noisy, path=tmp_path / "r", stop=3)
    continued, _ = by(2, model=noisy, path=tmp_path / "r")
    assert continued["losses"] == straight["losses"][3:]
    assert all(torch.equal(value, straight["weights"][name]) for name, value in continued["weights"].items())


def test_ranks_draw_other_masks_than_each_other_and_at_each_step():
    first, second, third = together(3, drawn)
    assert first[0] == drawn(ALONE)[0] and first[1] == drawn(ALONE)[1]  # as where it is alone
    assert len({*first[:2], *second[:2], *third[:2]}) == 6
    for before, _, again in (second, third):
        assert before == again  # so that a training can continue there


def test_gradients_are_summed_whatever_their_type_and_whoever_has_one():
    (before, after, loss), (others, same, _) = together(2, summed)
    assert loss == 4.0
    for own, other, found, again in zip(before, others, after, same, strict=True):
        if own is None and other is None:
            assert found is None and again is None
            continue
        zero = torch.zeros_like(found)
        torch.testing.assert_close(found, (zero if own is None else own) + (zero if other is None else other))
        assert torch.equal(found, again)


def test_a_model_that_the_ranks_would_disagree_on_is_refused_in_words():
    for failure in together(2, drifted):
        assert isinstance(failure, HarnessError)
        assert "no longer agree on 'seen'" in str(failure) and "leave out `resources`" in str(failure)


def test_a_rank_that_is_gone_is_noticed_by_the_others():
    first, second = together(2, dies)
    assert isinstance(first, ExchangeFailed) and second is None
