"""Which files of a results folder a command needs, by their paths in it (``/`` between the parts)."""

from __future__ import annotations

import re
from collections.abc import Callable

Wanted = Callable[[str], bool]

RECORD = "record.json"
RESUME = "resume.safetensors"
WEIGHTS = ".safetensors"
PLAN = "plan.json"

FIRST_CLIPS = 32
"""Of a trial's drawn clips, those that a report may show or play."""

QUESTION = re.compile(r"(plan\.json|suite\.yaml|tuned\.json|tuning\.csv|run\.json|patches/.*)$")
"""What stands in no trial's folder and is not made from records."""

CLIP = re.compile(r"/samples[^/]*/(\d+)\.\w+$")

SEARCHED = "tuning/"
"""Trials of a tuning stage; nothing but its continuation reads them."""


def trial_of(path: str) -> str:
    """The folder of the trial that a file belongs to; empty for a file of none."""
    found = re.match(r"((?:tuning/)?trials/[^/]+)/", path)
    return found[1] if found else ""


def everything(path: str) -> bool:
    return True


def records(path: str) -> bool:
    """For tables: the question and the trials' records."""
    return bool(QUESTION.match(path)) or (path.startswith("trials/") and path.endswith(f"/{RECORD}"))


def for_a_report(path: str) -> bool:
    """Records, learning curves, series, logs and the first clips; no weights."""
    if not trial_of(path):
        return records(path)
    clip = CLIP.search(path)
    late = clip is not None and int(clip[1]) >= FIRST_CLIPS
    return not (path.startswith(SEARCHED) or path.endswith(WEIGHTS) or late)


def for_a_run(path: str) -> bool:
    """Besides what its report needs: what trainings and searches continue from."""
    return for_a_report(path) or path.startswith(SEARCHED) or path.endswith(f"/{RESUME}")


def goes_with_its_copy(path: str) -> bool:
    """Files that commands remove when they are done with them; a store then need not keep them either."""
    weights_of_a_search = path.startswith(SEARCHED) and path.endswith(WEIGHTS)
    return (
        weights_of_a_search
        or path == "run.json"
        or path.startswith("figures/")
        or path.endswith(f"/{RESUME}")
    )
