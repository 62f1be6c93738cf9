"""Environment variables that Ray reads when it is imported: set first, so that it is quiet and tidy."""

from __future__ import annotations

import os

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_memory_monitor_refresh_ms": "0",  # it kills what is large, the driver too; trials have limits
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_worker_niceness": "0",  # timings must not give way to whatever else the machine does
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints boxes whatever its verbosity
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no files of its own
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are the harness's
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # nothing is restored from Tune's state
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",
}

OWN = {
    "RAY_AUTH_MODE": "disabled",  # else a token file is written into the home folder
    "RAY_prestart_worker_first_driver": "0",  # one a CPU, and Tune's actors start processes of their own
    # Named after the systems where it is Ray's default: a node that is alone listens on 127.0.0.1 only.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


def prepare(*, local: bool) -> None:
    """Set the variables; call before anything imports ray, which reads them once in a process's life."""
    os.environ.update(QUIET)
    if local:
        os.environ.update(OWN)
