"""Each tracker: what it is told of a trial is what the other tool gets, and a second time replaces it."""

import sys
from types import SimpleNamespace

import pytest

from harness import configuration
from harness.errors import HarnessError
from harness.tracking.logbook import Logbook


@pytest.fixture
def track(tmp_path, trial):
    """Hand a trial's folder to a tracker; returns the tracker's own folder."""

    def track(spec, folder):
        name = spec if isinstance(spec, str) else spec["name"]
        place = tmp_path / name
        tracker = configuration.build("trackers", spec, suite="question", folder=place)
        Logbook(place).end(tracker, trial, folder)
        return place

    return track


# ------------------------------------------------------------------------------------ TensorBoard


def test_tensorboard_has_the_curve_the_final_numbers_and_the_settings(track, leave, trial, events):
    scalars, others = events(track("tensorboard", leave()) / trial.folder_name)
    assert scalars["curve/nll_bits_validation"] == [(0, 5.5), (10, 4.5), (20, 3.5)]
    assert scalars["curve/nll_bits_train"] == [(10, 4.0), (20, 3.0)]  # there is none before the first step
    assert scalars["curve/learning_rate"] == [(0, 0.002), (10, 0.002), (20, 0.002)]
    assert scalars["final/nll_bits_test"] == [(20, 3.5)]
    assert "final/fid" not in scalars
    assert "_hparams_/session_start_info" in others


def test_a_second_log_replaces_the_first(track, leave, trial, events):
    track("tensorboard", leave())
    scalars, _ = events(track("tensorboard", leave((0, 20))) / trial.folder_name)
    assert [step for step, _ in scalars["curve/nll_bits_validation"]] == [0, 20]


# ---------------------------------------------------------------------------------------- W&B


class FakeWandb(SimpleNamespace):
    """As much of the client as is used; it notes what it is told."""

    def __init__(self):
        super().__init__(runs=[], Settings=lambda **settings: settings)

    def init(self, **options):
        run = SimpleNamespace(options=options, points=[], summary={}, exit_code=None)
        run.log = lambda values, step: run.points.append((step, values))
        run.finish = lambda exit_code: setattr(run, "exit_code", exit_code)
        self.runs.append(run)
        return run


@pytest.fixture
def wandb(monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("NETRC", "/nowhere")
    monkeypatch.setenv("HOME", "/nowhere")
    return fake


def test_wandb_has_a_run_a_trial(track, leave, trial, wandb, tmp_path):
    track({"name": "wandb", "project": "mine"}, leave())
    (run,) = wandb.runs
    assert run.options["project"] == "mine"
    assert run.options["id"] == trial.key[:16]
    assert run.options["dir"] == str(tmp_path / "wandb")
    assert run.options["config"]["model.pooling"] == "[2, 4]"
    assert run.options["config"]["train.learning_rate"] == 0.002
    assert [(step, point["curve/nll_bits_validation"]) for step, point in run.points] == [
        (0, 5.5),
        (10, 4.5),
        (20, 3.5),
    ]
    assert run.summary == {"nll_bits_test": 3.5, "status": "ok", "error": ""}
    assert run.exit_code == 0


def test_wandb_of_a_failed_trial_says_why(track, leave, wandb):
    track("wandb", leave(status="failed"))
    assert wandb.runs[0].summary["error"] == "it broke"
    assert wandb.runs[0].exit_code == 1
    assert wandb.runs[0].options["project"] == "question"


@pytest.mark.parametrize(
    ("key", "answers", "mode"), [("", True, "offline"), ("k", False, "offline"), ("k", True, "online")]
)
def test_wandb_is_online_with_an_account_and_a_network_alone(
    track, leave, wandb, monkeypatch, key, answers, mode
):
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setattr("harness.tracking.wandb.reachable", lambda url: answers)
    track("wandb", leave())
    assert wandb.runs[0].options["mode"] == mode


def test_an_earlier_offline_run_of_the_trial_goes(track, leave, trial, wandb, tmp_path):
    earlier = tmp_path / "wandb" / "wandb" / f"offline-run-20260101_000000-{trial.key[:16]}"
    earlier.mkdir(parents=True)
    track({"name": "wandb", "mode": "offline"}, leave())
    assert not earlier.exists()


# ------------------------------------------------------------------------------------------- MLflow


class FakeMlflow:
    """A client and its server in one."""

    def __init__(self):
        self.uri, self.experiments, self.runs, self.count = None, {}, {}, 0

    def __call__(self, tracking_uri):
        self.uri = tracking_uri
        return self

    def get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id=name) if name in self.experiments else None

    def create_experiment(self, name, artifact_location):
        self.experiments[name] = artifact_location
        return name

    def search_runs(self, experiments, text):
        return [
            run for run in self.runs.values() if text == f"tags.`harness.key` = '{run.tags['harness.key']}'"
        ]

    def delete_run(self, name):
        del self.runs[name]

    def create_run(self, experiment, run_name, tags):
        self.count += 1
        run = SimpleNamespace(
            info=SimpleNamespace(run_id=str(self.count)),
            name=run_name,
            tags=dict(tags),
            params={},
            metrics=[],
        )
        self.runs[run.info.run_id] = run
        return run

    def log_param(self, run, name, value):
        self.runs[run].params[name] = value

    def log_metric(self, run, name, value, step=None):
        self.runs[run].metrics.append((name, step, value))

    def set_tag(self, run, name, value):
        self.runs[run].tags[name] = value

    def set_terminated(self, run, status):
        self.runs[run].status = status


@pytest.fixture
def mlflow(monkeypatch):
    fake = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=fake))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return fake


def test_mlflow_has_one_run_a_trial_in_a_database_of_the_results(track, leave, mlflow, tmp_path):
    track("mlflow", leave())
    track("mlflow", leave())
    (run,) = mlflow.runs.values()
    assert mlflow.uri == f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}"
    assert list(mlflow.experiments) == ["question"]
    assert run.params["model.width"] == "4"
    assert ("curve/nll_bits_validation", 10, 4.5) in run.metrics
    assert ("nll_bits_test", None, 3.5) in run.metrics
    assert run.status == "FINISHED"


def test_an_mlflow_server_that_does_not_answer_is_replaced_by_the_database(track, leave, mlflow, caplog):
    track({"name": "mlflow", "tracking_uri": "http://127.0.0.1:9"}, leave())
    assert mlflow.uri.startswith("sqlite:///")
    assert "no MLflow at http://127.0.0.1:9" in caplog.text


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_client_that_is_not_installed_is_named(track, leave, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(HarnessError, match=f"pip install {name}"):
        track(name, leave())
