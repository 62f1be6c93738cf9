"""Environment variables that Ray reads when it is imported: set first, so that it is quiet and tidy."""

from __future__ import annotations

import os

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_AUTH_MODE": "disabled",  # else a token file is written into the home folder
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths keep their meaning
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # it would fail the whole experiment for one large trial
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "RAY_DEDUP_LOGS": "0",
    "RAY_worker_niceness": "0",  # timings must not give way to whatever else the machine does
}


def prepare() -> None:
    """Set the variables; call before anything imports ray."""
    os.environ.update(QUIET)
