"""A toy suite with a tuning stage, searched and run once."""

import threading
from pathlib import Path

import pytest

from harness.execution.run_suite import RunOptions, plan_suite, run_plan
from harness.execution.signals import StopRequest
from harness.suite.suite import load_suite
from harness.tuning.stage import look_up, run_searches, tuned

PLUGIN = Path(__file__).parents[1] / "execution" / "toy_plugin.py"

SUITE = f"""name: toy
plugins: [{PLUGIN}]
base:
  model: tiny
  data: tiny_data
  train: {{steps: 9, batch_size: 2, warmup_steps: 0, validate_every: 2, ema_decay: 0.0, learning_rate: 1e-6}}
vary: {{model.width: [8]}}
variants: {{counted: {{model: unigram}}}}
seeds: 2
measure: [nll]
figures: []
"""

TUNE = "tune: {over: {train.learning_rate: {log_uniform: [1e-6, 5e-2]}}, trials: 6, max_steps: 6}\n"


class Silence:
    def waiting(self, words): ...
    def planned(self, plan): ...
    def started(self, task): ...
    def progress(self, task, fraction, text): ...
    def ended(self, task, record): ...


@pytest.fixture(scope="session")
def silence():
    """Events that nobody watches, to be added to."""
    return Silence


class Tuned:
    """What a search and the run after it have left."""

    def __init__(self, folder, suite, tuning, outcome):
        self.folder, self.suite, self.tuning, self.outcome = folder, suite, tuning, outcome


@pytest.fixture(scope="session")
def load(tmp_path_factory):
    """Reads a toy suite with the given lines at its end."""

    def load(more=TUNE, **options):
        file = tmp_path_factory.mktemp("suite") / "toy.yaml"
        file.write_text(SUITE + more)
        return load_suite(file, profile="default", **options)

    return load


@pytest.fixture(scope="session")
def search():
    """Searches what is missing, in this process unless told otherwise; `stop_after` asks it to stop."""

    def search(suite, folder, *, serial=True, stop_after=None):
        asked = iter(range(10**9))
        terminal = threading.RLock()  # as a terminal's bar has one, which cannot be pickled
        with StopRequest() as stop:

            def watch(fraction, text):
                with terminal:
                    if stop_after is not None and fraction >= stop_after and next(asked) == 0:
                        stop.signal = 2

            options = RunOptions(serial=serial, device="cpu", results=folder, slots=1)
            return run_searches(look_up(suite, folder), options, watch, stop, lambda: None)

    return search


@pytest.fixture(scope="session")
def searched(load, search, tmp_path_factory):
    """A serial search and the final stage."""
    folder = tmp_path_factory.mktemp("results")
    tuning = search(load(), folder)
    suite = tuned(load(), tuning)
    options = RunOptions(serial=True, device="cpu", results=folder)
    return Tuned(folder, suite, tuning, run_plan(plan_suite(suite, options), options, Silence()))
