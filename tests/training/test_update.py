import math

import pytest
import torch
from torch import nn

from harness.contracts import ParameterGroup
from harness.errors import PluginError
from harness.training.config import TrainConfig
from harness.training.snapshot import restore, take
from harness.training.update import Update


class Point(nn.Module):
    """A matrix and a vector; the loss is whatever a test makes of them."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=dtype))
        self.vector = nn.Parameter(torch.tensor([4.0, -1.0], dtype=dtype))

    def loss(self, scale=1.0):
        return scale * ((self.matrix @ self.vector).square().sum() + self.vector.sum())


def norm_of(model):
    return Update(model, TrainConfig()).apply(model.loss()).gradient_norm


def snapshot(update):
    state = update.optimizer.state_dict()["state"]
    return (
        [p.detach().clone() for p in update.model.parameters()],
        [value.clone() for value in update.average.values()],
        [{key: torch.as_tensor(value).clone() for key, value in entry.items()} for entry in state.values()],
        update.applied,
    )


def same(a, b):
    flat = lambda s: [*s[0], *s[1], *(v for entry in s[2] for v in entry.values())]  # noqa: E731
    return a[3] == b[3] and all(torch.equal(x, y) for x, y in zip(flat(a), flat(b), strict=True))


def test_it_is_adamw_with_clipping_and_an_average_as_computed_by_hand():
    config = TrainConfig(
        learning_rate=0.5, warmup_steps=2, clip_norm=1.0, weight_decay=0.1, ema_decay=0.9, steps=6
    )
    model = Point()
    update = Update(model, config)
    weights = [p.detach().clone() for p in model.parameters()]
    average = [w.clone() for w in weights]
    mean, square = [torch.zeros_like(w) for w in weights], [torch.zeros_like(w) for w in weights]
    for count in range(6):
        twin = Point()
        for p, w in zip(twin.parameters(), weights, strict=True):
            p.data = w.clone()
        gradient = torch.autograd.grad(twin.loss(), list(twin.parameters()))
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradient))
        applied = update.apply(model.loss())
        assert applied.gradient_norm == pytest.approx(norm, rel=1e-12)
        assert applied.learning_rate == (0.0, 0.25, 0.5, 0.5, 0.5, 0.5)[count]
        for i, g in enumerate(gradient):
            g = g * min(1.0, 1.0 / (norm + 1e-6))
            mean[i] = 0.9 * mean[i] + 0.1 * g
            square[i] = 0.999 * square[i] + 0.001 * g**2
            step = (mean[i] / (1 - 0.9 ** (count + 1))) / (
                (square[i] / (1 - 0.999 ** (count + 1))).sqrt() + 1e-8
            )
            weights[i] = weights[i] - applied.learning_rate * (step + 0.1 * weights[i])
            average[i] = 0.9 * average[i] + 0.1 * weights[i]
    for p, w in zip(model.parameters(), weights, strict=True):
        torch.testing.assert_close(p.detach(), w, rtol=1e-12, atol=1e-13)
    for found, expected in zip(update.average.values(), average, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_the_first_update_after_a_warm_up_begins_moves_nothing():
    model = Point()
    before = [p.detach().clone() for p in model.parameters()]
    Update(model, TrainConfig(warmup_steps=10)).apply(model.loss())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("scale", [1e6, math.nan, math.inf])
def test_an_exploding_update_is_skipped_whole(scale):
    model = Point()
    update = Update(model, TrainConfig(warmup_steps=3, skip_norm=1000.0))
    for _ in range(2):
        update.apply(model.loss())
    before = snapshot(update)
    rate = update.apply(model.loss(scale))
    assert rate.skipped and update.skipped == 1
    assert same(before, snapshot(update))
    assert update.apply(model.loss()).learning_rate == rate.learning_rate  # the schedule waited


def test_the_skip_limit_itself_is_skipped_and_null_skips_only_what_is_not_finite():
    model = Point()
    size = norm_of(model)
    assert Update(model, TrainConfig(skip_norm=size)).apply(model.loss()).skipped
    assert (
        not Update(model, TrainConfig(skip_norm=math.nextafter(size, math.inf))).apply(model.loss()).skipped
    )
    assert not Update(model, TrainConfig(skip_norm=None)).apply(model.loss(1e12)).skipped
    assert Update(model, TrainConfig(skip_norm=None)).apply(model.loss(math.nan)).skipped


def test_a_loss_that_is_not_finite_is_skipped_though_its_gradient_is():
    model = Point()
    update = Update(model, TrainConfig())
    assert update.apply(model.loss() + math.inf).skipped


def test_a_weight_that_does_not_move_keeps_its_average_bit_for_bit():
    model = Point(torch.float32)
    model.matrix.requires_grad_(False)
    update = Update(model, TrainConfig(warmup_steps=0, ema_decay=0.97))
    for _ in range(20):
        update.apply(model.loss())
    assert torch.equal(update.average["matrix"], model.matrix)
    assert not torch.equal(update.average["vector"], model.vector)


def test_without_averaging_the_average_is_the_weights():
    model = Point(torch.float32)
    update = Update(model, TrainConfig(warmup_steps=0, ema_decay=0.0))
    for _ in range(5):
        update.apply(model.loss())
    assert torch.equal(update.average["vector"], model.vector)


def test_gradients_left_by_someone_else_do_not_count_and_none_are_left_behind():
    model = Point()
    model.loss().backward()
    assert Update(model, TrainConfig()).apply(model.loss()).gradient_norm == norm_of(Point())
    assert all(p.grad is None for p in model.parameters())


def settings_by_axes(update):
    """Of each parameter: its number of axes, the last learning rate, its weight decay."""
    return {
        (p.ndim, round(group["lr"], 9), group["weight_decay"])
        for group in update.optimizer.param_groups
        for p in group["params"]
    }


def test_matrices_alone_decay_where_that_is_asked_for():
    update = Update(Point(), TrainConfig(decay="matrices", weight_decay=0.1))
    assert settings_by_axes(update) == {(2, 0.0, 0.1), (1, 0.0, 0.0)}
    update = Update(Point(), TrainConfig(decay="all", weight_decay=0.1))
    assert settings_by_axes(update) == {(2, 0.0, 0.1), (1, 0.0, 0.1)}


def test_a_models_own_groups_scale_the_rate_and_refuse_decay():
    class Grouped(Point):
        def optimizer_groups(self):
            return [ParameterGroup(parameters=[self.vector], learning_rate_scale=0.1, weight_decay=False)]

    update = Update(Grouped(), TrainConfig(warmup_steps=0, learning_rate=0.5))
    update.apply(update.model.loss())
    assert settings_by_axes(update) == {(2, 0.5, 1e-4), (1, 0.05, 0.0)}


def test_groups_that_name_a_parameter_twice_or_a_stranger_are_refused():
    class Twice(Point):
        def optimizer_groups(self):
            return [ParameterGroup(parameters=[self.vector, self.vector])]

    class Stranger(Point):
        def optimizer_groups(self):
            return [ParameterGroup(parameters=[nn.Parameter(torch.zeros(3))])]

    for model in (Twice(), Stranger()):
        with pytest.raises(PluginError, match="optimizer_groups"):
            Update(model, TrainConfig())


def test_a_model_without_parameters_is_refused():
    with pytest.raises(PluginError, match="no trainable parameter"):
        Update(nn.Identity(), TrainConfig())


def test_complex_parameters_train_and_are_averaged():
    class Complex(nn.Module):
        def __init__(self):
            super().__init__()
            self.z = nn.Parameter(torch.tensor([1 + 2j, -3 + 1j]))

    model = Complex()
    update = Update(model, TrainConfig(warmup_steps=0, learning_rate=0.1, ema_decay=0.5))
    for _ in range(100):
        update.apply(model.z.abs().square().sum())
    assert model.z.abs().max() < 0.5
    torch.testing.assert_close(update.average["z"], model.z.detach(), rtol=0.5, atol=0.1)


def test_a_restored_update_goes_on_as_if_it_had_not_stopped():
    config = TrainConfig(warmup_steps=4, learning_rate=0.1)
    straight, stopped = Update(Point(), config), Update(Point(), config)
    for update in (straight, stopped):
        for scale in (1.0, 1e9, 1.0):
            update.apply(update.model.loss(scale))
    resumed = Update(Point(), config)
    restore(take(stopped, torch.device("cpu"), {}), resumed, torch.device("cpu"))
    assert (resumed.applied, resumed.skipped) == (2, 1)
    for update in (straight, resumed):
        for _ in range(4):
            update.apply(update.model.loss())
    assert same(snapshot(straight), snapshot(resumed))
