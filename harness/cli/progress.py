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


class Display:
    """Listens to an executor's events."""

    def __init__(self, plan: Plan, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self.console = console
        todo = plan.to_run()
        self.remaining = {planned.trial.key: planned.estimated_seconds for planned in todo}
        self.expected = sum(self.remaining.values())
        self.slots = plan.slots
        self.total = len(todo)
        self.started_at = time.monotonic()
        self.lines: dict[tuple[str, str], TaskID] = {}
        self.done = 0
        self.live = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[words]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.overall = self.live.add_task("all", total=1.0, words="", visible=self.total > 0)

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
        self._update_overall()

    def ended(self, task: Task, record: Record) -> None:
        self.started(task)
        self.live.remove_task(self.lines[task.trial.key, task.lane])
        if record.finished or record.status != "ok":
            self.remaining.pop(task.trial.key, None)
            self.done += 1
        self._update_overall()
        self.console.print(self._ending(task, record), highlight=False, markup=False, soft_wrap=True)

    def _update_overall(self) -> None:
        done = self.expected - sum(self.remaining.values())
        fraction = min(done / self.expected, 1.0) if self.expected else 0.0
        words = f"{self.done}/{self.total} trials"
        elapsed = time.monotonic() - self.started_at
        left = (
            elapsed * (1 - fraction) / fraction
            if fraction > 0.05
            else sum(self.remaining.values()) / self.slots
        )
        words += f", about {duration(left)} left"
        self.live.update(self.overall, completed=fraction, words=words)

    def _ending(self, task: Task, record: Record) -> str:
        name = f"[{self.done}/{self.total}] {self._name(task)}"
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
