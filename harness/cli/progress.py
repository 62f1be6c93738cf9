"""Progress of a run: a line a running trial and one for the whole, with the time left.

On a terminal the lines live; in a log file each finished trial gets one line.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from harness.cli.format import duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from harness.execution.plan import Plan
    from harness.execution.run_trial import Task
    from harness.store.record import Record

SHARES = {"training": (0.0, 0.85), "exclusive": (0.85, 0.15)}
"""Lane -> where it begins and how much it is of a trial's time, roughly; only the time left uses it."""


class Display:
    """Listens to an executor's events."""

    def __init__(self, plan: Plan, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self.console = console
        todo = plan.to_run()
        self.expected = {planned.trial.key: planned.estimated_seconds for planned in todo}
        self.fractions = {planned.trial.key: 0.0 for planned in todo}
        self.slots = plan.slots
        # A trial that is only to be measured has its training behind it.
        self.steps = sum(1 if planned.state == "to measure" else len(SHARES) for planned in todo)
        self.ended_steps = 0
        self.started_at = time.monotonic()
        self.lines: dict[tuple[str, str], TaskID] = {}
        self.live = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[words]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.overall = self.live.add_task("all", total=1.0, words="", visible=bool(todo))

    def __enter__(self) -> Display:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def started(self, task: Task) -> None:
        key = (task.trial.key, task.lane)
        if key not in self.lines:
            self.lines[key] = self.live.add_task(self._name(task), total=1.0, words="starting")

    def progress(self, task: Task, fraction: float, text: str) -> None:
        self.started(task)
        self.live.update(self.lines[task.trial.key, task.lane], completed=fraction, words=text)
        self._advance(task, fraction)

    def ended(self, task: Task, record: Record) -> None:
        self.started(task)
        self.live.remove_task(self.lines[task.trial.key, task.lane])
        failed = record.status != "ok"
        self.ended_steps += len(SHARES) if failed and task.lane == "training" else 1
        self._advance(task, 1.0, whole=failed)
        self.console.print(self._ending(task, record), highlight=False, markup=False, soft_wrap=True)

    def _advance(self, task: Task, fraction: float, whole: bool = False) -> None:
        """Note how far a trial is; say how far all are, and how long the rest will take."""
        before, share = SHARES[task.lane]
        self.fractions[task.trial.key] = 1.0 if whole else before + share * fraction
        total = sum(self.expected.values())
        done = sum(self.expected[key] * fraction for key, fraction in self.fractions.items())
        elapsed = time.monotonic() - self.started_at
        # The estimate is all there is at first; then what has been done tells better.
        left = elapsed * (total - done) / done if done > 0.05 * total else (total - done) / self.slots
        words = f"{self.ended_steps}/{self.steps}, about {duration(left)} left"
        self.live.update(self.overall, completed=done / total if total else 1.0, words=words)

    def _ending(self, task: Task, record: Record) -> str:
        name = f"[{self.ended_steps}/{self.steps}] {self._name(task)}"
        if record.status != "ok":
            return f"{name}: {record.status}: {record.error}"
        columns: dict[str, Any] = dict(record.columns)
        if task.lane == "exclusive":
            step = columns.get("train_step_ms")
            return f"{name}: measured" + (f", {step:.1f} ms a step" if step else "")
        text = f"{name}: trained in {duration(columns.get('train_seconds', 0.0))}"
        bits = columns.get("nll_bits_test")
        return text + (f", test {bits:.3f} bits" if bits is not None else "")

    @staticmethod
    def _name(task: Task) -> str:
        return f"{task.trial.variant} s{task.trial.seed}"
