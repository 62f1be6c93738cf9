import math

import pytest
import torch
import torch.nn.functional as F

from harness.evaluation.generation import Generation
from harness.evaluation.sampling import Sampler, sample
from harness.training.seeds import generator


def draw(model, batch=3, length=12, seed=0, **options):
    return sample(model, batch, length, generator=generator("sampling", seed), **options)


def test_the_same_seed_draws_the_same_clips_and_another_does_not(toy):
    model = toy(dropout=0.5)
    assert torch.equal(draw(model).tokens, draw(model).tokens)
    assert not torch.equal(draw(model).tokens, draw(model, seed=1).tokens)


def test_torchs_global_random_state_plays_no_part_and_is_left_alone(toy):
    model = toy()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = draw(model).tokens
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first, draw(model).tokens)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_the_likelihood_is_what_the_forward_pass_gives_whatever_the_temperature(toy, temperature):
    model = toy().double()
    samples = draw(model, temperature=temperature)
    with torch.no_grad():
        log_p = F.log_softmax(model(samples.tokens), -1)
    expected = log_p.gather(-1, samples.tokens[..., None]).sum((1, 2)) / math.log(2)
    torch.testing.assert_close(samples.log_likelihood_bits, expected, rtol=1e-12, atol=0)
    assert samples.tokens.shape == (3, 12) and samples.tokens.dtype == torch.long


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_tokens_come_as_often_as_the_tempered_model_says(toy, temperature):
    model = toy()
    model.head.bias.data = torch.linspace(-30, 3, 256)
    model.head.weight.data.zero_()
    tokens = draw(model, batch=20000, length=1, temperature=temperature).tokens[:, 0]
    expected = (model.head.bias.detach().double() / temperature).softmax(-1)
    found = torch.bincount(tokens, minlength=256) / 20000
    deviation = (found - expected) / (expected * (1 - expected) / 20000 + 1e-9).sqrt()
    assert deviation.abs().max() < 5


def test_a_low_temperature_takes_the_likeliest_token(toy):
    model = toy()
    tokens = draw(model, temperature=1e-6).tokens
    assert torch.equal(tokens, model(tokens).argmax(-1))


@pytest.mark.parametrize("top_p", [0.5, 0.9])
def test_only_the_likeliest_tokens_are_drawn_below_a_top_p(toy, top_p):
    model = toy()
    model.head.bias.data = torch.linspace(-30, 3, 256)
    model.head.weight.data.zero_()
    tokens = draw(model, batch=20000, length=1, top_p=top_p).tokens[:, 0]
    likely = model.head.bias.detach().double().softmax(-1).flip(0)  # the last are the likeliest
    kept = int((likely.cumsum(0) - likely < top_p).sum())
    assert tokens.min() == 256 - kept
    found = torch.bincount(255 - tokens, minlength=kept) / 20000
    expected = likely[:kept] / likely[:kept].sum()
    deviation = (found - expected) / (expected * (1 - expected) / 20000).sqrt()
    assert deviation.abs().max() < 5


def test_a_cut_does_not_change_what_is_drawn(toy):
    model = toy().eval()
    whole = Sampler(model, 3, generator=generator("sampling", 0))
    cut = Sampler(model, 3, generator=generator("sampling", 0))
    assert torch.equal(whole.draw(12), torch.cat([cut.draw(5), cut.draw(7)], dim=1))
    torch.testing.assert_close(whole.log_likelihood, cut.log_likelihood)


@pytest.mark.parametrize(
    "option", [{"temperature": 0.0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}]
)
def test_options_out_of_range_are_refused_by_name(toy, option):
    with pytest.raises(ValueError, match=next(iter(option))):
        draw(toy(), **option)


def test_the_metric_reports_a_speed_and_never_draws_beyond_the_clips_length(toy, context):
    metric = Generation(Generation.Config(batch=2, seconds=5.0, warmup_steps=1))
    columns = metric.measure(context(toy(), "evaluation_toy"))
    assert set(columns) == set(Generation.columns)
    assert columns["generate_steps"] == 40 and columns["generate_batch"] == 2
    assert columns["real_time_factor"] == columns["generate_samples_per_second"] / 8000 > 0


def test_a_spent_budget_still_measures_something(toy, context):
    metric = Generation(Generation.Config(seconds=0.0, warmup_steps=0))
    assert metric.measure(context(toy(), "evaluation_toy"))["generate_steps"] == 16
