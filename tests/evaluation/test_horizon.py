import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from declared import declared
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from harness import configuration
from harness.contracts import MetricContext, PlacedMixer, Split
from harness.evaluation.horizon.cut import (
    Rises,
    RiseSums,
    cut_bits,
    distances,
    late,
    masked_bits,
    phase_of,
    restarted,
    segment_starts,
)
from harness.evaluation.horizon.decays import effective_memory, memories
from harness.evaluation.horizon.gradient import boundary, part_gradients
from harness.evaluation.horizon.levels import (
    CannotIsolate,
    common_period,
    levels_of,
    original_of,
    placed_mixers,
    replaced,
)
from harness.evaluation.horizon.metric import Horizon
from harness.evaluation.horizon.summary import depth, half_distance, long_distance, rank_correlation
from models.mixers.recurrence import RecurrentMixer

VOCABULARY = 16
WITHOUT_MEMORY = {"markov", "unigram"}
few = settings(max_examples=8, deadline=None)


class Delay(RecurrentMixer):
    """Gives back what came `lag` steps ago: a memory of known length. Its state is the last inputs."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        lag: int = 1

    def __init__(self, config, *, width, stride=1):
        super().__init__()
        self.lag, self.width = config.lag, width

    def resume(self, x, state):
        past = self.initial_state(len(x)) if state is None else state
        window = torch.cat((past, x), dim=1)
        return window[:, : x.shape[1]], window[:, x.shape[1] :]

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, self.lag, self.width)


class Repeater(nn.Module):
    """Says the token of `lag` steps ago, by two mixers, of which the second remembers nothing."""

    def __init__(self, lag: int):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, VOCABULARY)
        nn.init.eye_(self.embedding.weight)
        # of the shifted tokens, the lag - 1 th before is the token of `lag` ago
        self.delay = Delay(Delay.Config(lag=lag - 1), width=VOCABULARY)
        self.nothing = Delay(Delay.Config(lag=0), width=VOCABULARY)

    def forward(self, tokens):
        return 9 * self.nothing(self.delay(self.embedding(F.pad(tokens[:, :-1], (1, 0)))))


def periodic(lag: int, length: int = 256, clips: int = 4):
    tokens = torch.randint(VOCABULARY, (clips, lag), generator=torch.Generator().manual_seed(0))
    return tokens.repeat(1, -(-length // lag))[:, :length], torch.full((clips,), length)


def build(name, seed=0, **config):
    torch.manual_seed(seed)
    model = configuration.build("models", {"name": name, **config}, vocab_size=VOCABULARY)
    for parameter in model.parameters():  # some begin at zero, where nothing flows
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model.eval()


def example(name):
    cls = configuration.resolve("models", name).cls
    return build(name, **next(iter(getattr(cls, "examples", ({},)))))


def clips(length=48, count=3):
    tokens = torch.randint(VOCABULARY, (count, length), generator=torch.Generator().manual_seed(1))
    return tokens, torch.tensor([length, length - 5, length][:count])


@pytest.fixture(scope="module")
def poolformer():
    return build("poolformer", width=8, pooling=[2, 3], layers=1)


# --------------------------------------------------------------------------------------- levels


@pytest.mark.parametrize("name", sorted({*declared("models")} - WITHOUT_MEMORY))
def test_of_every_model_each_level_can_be_cut_alone(name):
    model, (tokens, lengths) = example(name), clips()
    mixers = placed_mixers(model)
    called = set()

    def run(placed, original, x):
        called.add(id(placed.layer))
        return original(x, None)

    with torch.no_grad():
        whole = masked_bits(model, tokens, lengths)
        with replaced(mixers, run):
            passed_on = masked_bits(model, tokens, lengths)
        changes = {
            level: cut_bits(model, tokens, lengths, mixers, levels={level}, every=1) - whole
            for level in levels_of(mixers)
        }
        torch.testing.assert_close(masked_bits(model, tokens, lengths), whole, rtol=0, atol=0)
    assert called == {id(placed.layer) for placed in mixers}
    torch.testing.assert_close(passed_on, whole, rtol=0, atol=1e-5)
    assert all(change.abs().max() > 1e-4 for change in changes.values())


def test_a_poolformer_lists_its_mixers_with_the_strides_of_their_levels(poolformer):
    assert levels_of(placed_mixers(poolformer)) == {0: 1, 1: 2, 2: 6}
    assert [placed.level for placed in placed_mixers(poolformer)] == [0, 0, 1, 1, 2]
    assert common_period(placed_mixers(poolformer)) == 6


def test_layers_of_a_model_that_lists_none_are_levels_in_their_order():
    found = placed_mixers(build("gru", width=4, layers=3))
    assert [(placed.level, placed.stride) for placed in found] == [(0, 1), (1, 1), (2, 1)]


def test_a_layer_that_the_model_does_not_call_is_an_error():
    model = Repeater(3)
    unused = PlacedMixer(layer=Delay(Delay.Config(), width=4), level=7)
    with pytest.raises(CannotIsolate, match="does not call its Delay of level 7"):
        memories(model, *periodic(3), [*placed_mixers(model), unused])


# ----------------------------------------------------------------------------------------- cuts


@given(
    steps=st.integers(1, 40), stride=st.integers(1, 7), every=st.integers(1, 300), phase=st.integers(0, 299)
)
@few
def test_segments_begin_at_the_first_step_after_a_cut(steps, stride, every, phase):
    phase %= every
    expected = {0} | {math.ceil(cut / stride) for cut in range(phase, steps * stride, every)}
    assert segment_starts(steps, stride=stride, every=every, phase=phase).tolist() == sorted(
        step for step in expected if step < steps
    )


@pytest.mark.parametrize("mixer", ["rg_lru", "attention", "convolution", "s4d", "gru", "mamba"])
def test_restarting_is_running_each_segment_by_itself(mixer):
    torch.manual_seed(0)
    layer = configuration.build("mixers", mixer, width=16)
    x = torch.randn(2, 23, 16)
    starts = torch.tensor([0, 3, 4, 15])
    with torch.no_grad():
        whole, _ = restarted(original_of(PlacedMixer(layer=layer, level=0)), x, starts)
        alone = [layer(part) for part in torch.tensor_split(x, starts[1:], dim=1)]
    torch.testing.assert_close(whole, torch.cat(alone, dim=1), rtol=1e-4, atol=1e-5)


@given(every=st.integers(48, 500))
@few
def test_cuts_further_apart_than_the_window_change_nothing(poolformer, every):
    (tokens, lengths), mixers = clips(), placed_mixers(poolformer)
    with torch.no_grad():
        whole = masked_bits(poolformer, tokens, lengths)
        cut = cut_bits(poolformer, tokens, lengths, mixers, levels={0, 1, 2}, every=every)
    assert torch.equal(cut, whole)


def test_a_level_cut_more_often_than_its_steps_is_cut_at_each_of_them(poolformer):
    (tokens, lengths), mixers = clips(), placed_mixers(poolformer)
    with torch.no_grad():
        each = cut_bits(poolformer, tokens, lengths, mixers, levels={2}, every=1)
        stride = cut_bits(poolformer, tokens, lengths, mixers, levels={2}, every=6, phase=5)
    assert torch.equal(each, stride)


def test_padding_costs_nothing(poolformer):
    tokens, lengths = clips()
    with torch.no_grad():
        bits = cut_bits(poolformer, tokens, lengths, placed_mixers(poolformer), levels={0}, every=4)
    assert (bits[1, -5:] == 0).all() and (bits[0, -5:] > 0).all()


@pytest.mark.parametrize("lag", [4, 16])
def test_a_memory_of_known_length_is_found_at_that_length(lag):
    model, (tokens, lengths) = Repeater(lag), periodic(lag)
    mixers = placed_mixers(model)

    def rises(level, every):
        sums = RiseSums()
        with torch.no_grad():
            whole = masked_bits(model, tokens, lengths)
            for phase in range(0, every, max(every // 8, 1)):
                bits = cut_bits(model, tokens, lengths, mixers, levels={level}, every=every, phase=phase)
                sums.add(bits - whole, lengths, every=every, phase=phase)
        return sums.means()

    curve = {every: rises(0, every) for every in distances(256)}
    assert curve[lag // 2].every == pytest.approx(curve[1].every, rel=0.1)  # every token is lost
    assert lag <= half_distance(curve) <= 3 * lag
    assert curve[128].every == pytest.approx(curve[1].every * lag / 128, rel=0.5)  # those after a cut
    assert curve[lag // 2].late == pytest.approx(curve[1].late, rel=0.1)
    assert abs(curve[2 * lag].late) < 1e-6  # late tokens know enough again
    for every in (1, lag, 64):  # the other mixer has no memory to lose
        assert rises(1, every) == pytest.approx((0, 0), abs=1e-6)


def test_cuts_fall_everywhere_alike():
    phases = np.array([phase_of(batch, 64, 0.3) for batch in range(64)])
    assert phases.min() >= 0 and phases.max() < 64
    assert np.histogram(phases, bins=8, range=(0, 64))[0].min() >= 6


def test_late_tokens_come_in_the_second_half_after_a_cut():
    assert late(8, every=4, phase=1).tolist() == [False, False, False, True, True, False, False, True]
    assert late(6, every=4).tolist() == [False] * 6  # the first cut is at 4, and 6 would be the first late
    assert late(3, every=1).tolist() == [False, True, True]


def test_distances_are_the_powers_of_two_below_a_window():
    assert distances(5) == [1, 2, 4] and distances(4) == [1, 2] and distances(1) == []


# --------------------------------------------------------------------------------------- decays


@given(decay=st.floats(0.01, 0.999), stride=st.integers(1, 160))
@few
def test_a_constant_decay_remembers_one_over_its_logarithm(decay, stride):
    mixer = configuration.build("mixers", "diagonal_rnn", width=4, stride=stride).double()
    mixer.decay_logit.data.fill_(math.log(decay / (1 - decay)))
    steps = effective_memory(mixer.log_decays(torch.zeros(1, 5, 4)), 5, torch.tensor([5]))
    assert stride * steps.flatten()[0].item() == pytest.approx(-stride / math.log(decay), rel=1e-6)


def test_a_gated_decay_remembers_by_its_mean_logarithm_over_true_steps():
    log_decay = -torch.tensor([[[1.0], [3.0], [50.0]], [[2.0], [2.0], [2.0]]])
    found = effective_memory(log_decay, 3, torch.tensor([2, 3]))
    assert found.flatten().tolist() == [0.5, 0.5]


@pytest.mark.parametrize("name", ["rg_lru", "lru", "min_gru", "min_lstm", "s5", "s4d", "diagonal_rnn"])
def test_decays_are_those_by_which_a_state_shrinks_when_nothing_comes_in(name):
    """Two states that differ come together, each channel by its own factor."""
    torch.manual_seed(0)
    mixer = configuration.build("mixers", name, width=8).double()
    x = torch.randn(1, 1, 8).double()
    _, one = mixer.resume(x, mixer.initial_state(1).normal_())
    _, other = mixer.resume(x, mixer.initial_state(1))
    _, one_later = mixer.resume(x, one)
    _, other_later = mixer.resume(x, other)
    before, after = (one - other), (one_later - other_later)
    if name in {"rg_lru", "lru"}:  # real parts first, then imaginary ones
        before, after = (torch.complex(*each.chunk(2, dim=-1)) for each in (before, after))
    shrunk = (after.abs() / before.abs()).flatten()
    torch.testing.assert_close(mixer.log_decays(x).exp().flatten(), shrunk, rtol=1e-6, atol=1e-9)


# ------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("name", ["poolformer", "sashimi", "mamba_unet", "hourglass", "transformer", "rwkv7"])
def test_the_levels_and_the_delays_make_up_the_whole_gradient(name):
    model, (tokens, _) = example(name), clips()
    mixers = placed_mixers(model)
    moment = boundary(48, mixers)
    parts = part_gradients(model, tokens, mixers, moment=moment, targets=torch.tensor([24, 25, 40]))
    whole = parts.pop("all")[:, :moment]
    assert whole.abs().max() > 0
    total = sum(part[:, :moment] for part in parts.values())
    torch.testing.assert_close(total, whole, rtol=1e-3, atol=1e-5 * float(whole.abs().max()))
    if common_period(mixers) == 1:
        assert not parts["delays"][:, :moment].any()


def test_all_gradient_goes_through_the_only_memory():
    model, (tokens, _) = Repeater(8), periodic(8, length=64)
    targets = torch.full((4,), 35)
    parts = part_gradients(model, tokens, placed_mixers(model), moment=32, targets=targets)
    position = 35 - 7  # embeds the token of eight ago
    assert parts["0"][:, position].abs().min() > 0
    assert not parts["0"][:, :position].any() and not parts["1"].any() and not parts["delays"][:, :32].any()


# ------------------------------------------------------------------------------------- summary


def curve(rises):
    return {every: Rises(rise, math.nan) for every, rise in rises.items()}


def test_half_of_a_rise_is_found_between_two_cuts():
    assert half_distance(curve({1: 1.0, 2: 1.0, 4: 1.0, 16: 0.0})) == pytest.approx(8.0)
    assert math.isinf(half_distance(curve({1: 1.0, 2: 0.9})))
    assert math.isnan(half_distance(curve({1: 1e-5, 2: 0.0})))
    assert math.isnan(half_distance(curve({1: -0.1, 2: 0.0})))


def test_depth_is_the_mean_level_of_what_is_worth_something():
    assert depth({0: 1.0, 1: 0.0, 2: 1.0}) == 1.0
    assert depth({0: 1.0, 3: -5.0}) == 0.0
    assert math.isnan(depth({0: 0.0, 1: -1.0}))


def test_rank_correlation_leaves_out_what_is_not_known():
    assert rank_correlation([0, 1, 2, 3], [1.0, 8.0, math.nan, 9.0]) == pytest.approx(1.0)
    assert math.isnan(rank_correlation([0, 1], [1.0, math.nan]))
    assert rank_correlation([0, 1, 2], [5.0, 5.0, 1.0]) == pytest.approx(-math.sqrt(3) / 2)


@given(length=st.integers(2, 10**6))
@few
def test_what_counts_as_long_is_one_of_the_distances(length):
    assert long_distance(length) in distances(length)


# -------------------------------------------------------------------------------------- metric


def measured(model, folder, lengths, crop=None, **config):
    tokens = np.random.default_rng(0).integers(VOCABULARY, size=(len(lengths), max(lengths))).astype(np.uint8)
    split = Split(tokens=tokens, lengths=np.asarray(lengths))
    dataset = type("Data", (), {"splits": {"test": split}, "length": max(lengths), "sample_rate": 8000})()
    context = MetricContext(
        model=model,
        dataset=dataset,
        device=torch.device("cpu"),
        config={"train": {"crop": crop}},
        seed=0,
        folder=folder,
    )
    return Horizon(Horizon.Config(**config)).measure(context)


@pytest.fixture(scope="module")
def outcome(poolformer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trial")
    row = measured(poolformer, folder, [48, 48, 30, 5], clips=4, gradient_batches=1)
    series = {path.stem: pd.read_csv(path) for path in (folder / "series").iterdir()}
    return row, series


def test_a_row_holds_declared_columns_alone(outcome):
    row, _ = outcome
    assert row.keys() <= Horizon.columns.keys()
    assert row["horizon_levels"] == 3 and row["horizon_context"] == 48
    assert row["horizon_long_ms"] == 8 / 8


def test_the_curves_stand_in_the_folder_of_the_trial(outcome):
    row, series = outcome
    assert series.keys() == {"horizon_cut", "horizon_memory", "horizon_gradient"}
    cut = series["horizon_cut"].astype({"level": str})
    assert set(cut["level"]) == {"0", "1", "2", "all"}
    assert set(cut["distance_samples"]) == {1, 2, 4, 8, 16, 32}
    assert (cut["distance_ms"] == cut["distance_samples"] / 8).all()
    own = cut[cut["level"] == "1"].set_index("distance_samples")["rise_bits"]
    assert own[1] == own[2] == row["horizon_rise_bits_level1"]
    late_bits = cut[cut["level"] == "1"].set_index("distance_samples")["late_bits"]
    assert late_bits[8] == row["horizon_long_bits_level1"]
    memory = series["horizon_memory"]
    median = memory[(memory["level"] == 2) & (memory["quantile"] == 0.5)]["memory_ms"].item()
    assert median == pytest.approx(row["horizon_memory_ms_level2"])


def test_shares_of_the_gradient_add_up(outcome):
    gradient = outcome[1]["horizon_gradient"]
    parts = gradient[gradient["level"] != "all"]
    assert np.allclose(parts.groupby("distance_samples")["share"].sum(), 1.0)


def test_the_same_seed_measures_the_same(poolformer, outcome, tmp_path):
    row = measured(poolformer, tmp_path, [48, 48, 30, 5], clips=4, gradient_batches=1)
    assert {k: v for k, v in row.items() if v == v} == {k: v for k, v in outcome[0].items() if v == v}


def test_a_model_without_memory_says_so(tmp_path):
    row = measured(build("unigram"), tmp_path, [8, 8])
    assert row["horizon_levels"] == 0 and "no mixers" in row["horizon_remarks"]
    assert not (tmp_path / "series").exists()


def test_what_could_not_be_measured_is_remarked(tmp_path):
    row = measured(example("sample_rnn"), tmp_path, [64] * 3, crop=48, clips=3, gradient_batches=1)
    assert "no gradients by level: GRU is called of parts of a sequence" in row["horizon_remarks"]
    assert not (tmp_path / "series" / "horizon_gradient.csv").exists()
    assert row["horizon_context"] == 48


def test_clips_of_one_sample_have_nothing_to_forget(poolformer, tmp_path):
    row = measured(poolformer, tmp_path, [1, 1])
    assert "too short" in row["horizon_remarks"] and "horizon_level_correlation" not in row
