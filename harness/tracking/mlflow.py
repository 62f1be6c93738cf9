"""MLflow, by its own client: Ray's callback wants a Tuner's trials, and knows one run a process.

Without a server, runs are kept in a database below the results folder; `mlflow ui` shows it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contracts import TrackedTrial
from harness.errors import HarnessError
from harness.tracking.notice import log
from harness.tracking.reach import reachable
from harness.tracking.settings import settings_of

TAG = "harness.key"

LONGEST = 500
"""Letters of a setting that MLflow keeps."""


class MLflow:
    """MLflow runs (pip install mlflow), one a trial; in a local database unless a server is named."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        experiment: str | None = None
        """None: the name of the suite."""
        tracking_uri: str | None = None
        """None: MLFLOW_TRACKING_URI, else results/<suite>/mlflow/mlflow.db."""

    def __init__(self, config: Config, *, suite: str, folder: Path) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # which writes to the home folder
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise HarnessError(f"mlflow does not import ({error}); pip install mlflow") from None
        folder = folder.resolve()
        local = f"sqlite:///{folder / 'mlflow.db'}"
        uri = config.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or local
        if uri.startswith("http") and not reachable(uri):
            log.warning("track: no MLflow at %s; its runs are kept in %s", uri, local)
            uri = local
        folder.mkdir(parents=True, exist_ok=True)
        self.client = MlflowClient(tracking_uri=uri)
        name = config.experiment or suite
        found = self.client.get_experiment_by_name(name)
        artifacts = (folder / "artifacts").as_uri() if uri == local else None
        self.experiment = (
            found.experiment_id
            if found is not None
            else self.client.create_experiment(name, artifact_location=artifacts)
        )

    def begin(self, trial: TrackedTrial) -> Run:
        for earlier in self.client.search_runs([self.experiment], f"tags.`{TAG}` = '{trial.key}'"):
            self.client.delete_run(earlier.info.run_id)
        run = self.client.create_run(
            self.experiment, run_name=f"{trial.variant}-s{trial.seed}", tags={TAG: trial.key}
        )
        for name, value in settings_of(trial).items():
            self.client.log_param(run.info.run_id, name, str(value)[:LONGEST])
        return Run(self.client, run.info.run_id)


class Run:
    """`curve/…` over steps, the final columns as metrics without a step."""

    def __init__(self, client: Any, name: str) -> None:
        self.client, self.name = client, name

    def point(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.client.log_metric(self.name, f"curve/{name}", value, step=step)

    def end(self, status: str, columns: Mapping[str, float], error: str) -> None:
        for name, value in columns.items():
            self.client.log_metric(self.name, name, value)
        self.client.set_tag(self.name, "status", status)
        self.client.set_tag(self.name, "error", error)
        ended = "KILLED" if status == "interrupted" else "FINISHED" if status == "ok" else "FAILED"
        self.client.set_terminated(self.name, ended)
