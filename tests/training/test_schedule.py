import pytest

from harness.training.config import TrainConfig
from harness.training.schedule import learning_rate


@pytest.mark.parametrize(
    ("warmup", "applied", "rate"),
    [
        # The rates that the original training code applied, to the last bit.
        (1000, 0, 0.0),
        (1000, 1, 1.9999743017251603e-06),
        (1000, 7, 1.4000058399687987e-05),
        (1000, 19, 3.799999103648588e-05),
        (3, 1, 0.0006666667759418488),
        (3, 2, 0.0013333334354683757),
        (5, 1, 0.00039999998989515007),
        (5, 3, 0.00120000005699694),
        (5, 6, 0.0020000000949949026),
    ],
)
def test_the_warm_up_is_the_originals_to_the_last_bit(warmup, applied, rate):
    config = TrainConfig(learning_rate=2e-3, warmup_steps=warmup)
    assert learning_rate(config, applied) == pytest.approx(rate, rel=1e-15)


def test_without_a_warm_up_the_first_update_has_the_full_rate():
    assert learning_rate(TrainConfig(learning_rate=0.5, warmup_steps=0), 0) == 0.5


def test_a_cosine_ends_at_zero_at_the_last_step_and_passes_half_in_the_middle():
    config = TrainConfig(learning_rate=1.0, warmup_steps=10, steps=110, schedule="cosine")
    assert learning_rate(config, 10) == pytest.approx(1.0)
    assert learning_rate(config, 60) == pytest.approx(0.5)
    assert learning_rate(config, 110) == pytest.approx(0.0, abs=1e-7)
    assert learning_rate(config, 200) == pytest.approx(0.0, abs=1e-7)


def test_a_run_shorter_than_its_warm_up_stays_in_it():
    config = TrainConfig(learning_rate=1.0, warmup_steps=10, steps=5, schedule="cosine")
    assert [learning_rate(config, n) for n in (0, 4)] == pytest.approx([0.0, 0.4])
