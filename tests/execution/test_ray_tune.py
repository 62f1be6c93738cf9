"""A task as a trial of Ray Tune's: how many steps it takes, and what its results carry."""

from collections.abc import Iterator
from threading import Event
from types import SimpleNamespace

import pytest

from harness.execution import ray_environment

ray_environment.prepare(local=True)

from harness.execution.ray_tune import TaskTrial  # noqa: E402 (the environment comes first)
from harness.execution.transfer import Invitation  # noqa: E402

TOLD = [{"progress": 0.1, "text": "begins"}, {"progress": 0.9, "text": "ends"}, {"done": True}]


class Talks:
    """A host whose task has its messages ready; they wait for their answers."""

    def __init__(self) -> None:
        self.left: Iterator[dict] = iter(TOLD)
        self.worker = SimpleNamespace(close=lambda: None)

    def begin(self, payload, invitation):
        return next(self.left)

    def next(self, answer):
        return next(self.left)


@pytest.fixture
def trial():
    trial = TaskTrial.__new__(TaskTrial)  # Tune's own beginning wants its storage
    trial.setup({"threads": 1})
    trial.host = Talks()
    yield trial
    trial.cleanup()


def test_a_short_task_whose_driver_need_not_answer_is_one_step(trial):
    trial.begin({}, None)
    assert trial.step() == {"message": {"done": True}, "done": True}
    assert trial.step() == {"message": {"held_back": True}, "done": True}  # not begun again


def test_where_the_driver_answers_each_message_is_a_step(trial):
    trial.begin({}, Invitation("token", ()))
    steps = []
    for _ in TOLD:
        steps.append(trial.step())
        if not steps[-1]["done"]:
            trial.answer(None)
    assert [step["message"] for step in steps] == TOLD
    assert [step["done"] for step in steps] == [False, False, True]


def test_a_long_task_lets_its_trial_hear_that_it_shall_stop(trial, monkeypatch):
    monkeypatch.setattr("harness.execution.ray_tune.STEP_SECONDS", 0.01)
    may_end = Event()
    trial.host.begin = lambda payload, invitation: {"done": may_end.wait(60)}
    trial.begin({}, None)
    assert trial.step() == {"message": {}, "done": False}
    may_end.set()
    trial.coming.result()
    assert trial.step()["done"]


def test_results_carry_nothing_but_what_a_task_says(trial):
    assert trial.get_auto_filled_metrics() == {}
    assert trial.get_auto_filled_metrics(debug_metrics_only=True) == {}
