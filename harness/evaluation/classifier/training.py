"""Training a classifier on the labels of a data set: on its train split, chosen by validation.

After each epoch the validation split is classified, and the weights that got most of it right are kept
(the lower loss among equals). The test split is classified once, at the end, by those: its accuracy is
the held-out one. The same seed gives the same weights on the same machine; on a CPU one thread trains,
so that their number does not change the sums.

Shapes: B batch, C classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.cli.format import duration
from harness.errors import DataError
from harness.evaluation.classifier.augmentation import Augmentation
from harness.evaluation.classifier.front_end import FrontEnd, published_front_end, small_front_end
from harness.evaluation.classifier.labelled import Labelled
from harness.evaluation.classifier.resnext import ResNeXt
from harness.evaluation.classifier.settings import ClassifierSettings
from harness.evaluation.classifier.small import LEAST_FRAMES, SmallNetwork
from harness.training.precision import precision
from harness.training.seeds import derive_seed

BATCH = 128
"""Clips classified at once, where nothing is trained."""

Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How well a split was classified."""

    accuracy: float
    loss: float
    """Mean cross-entropy, nats."""
    confusion: np.ndarray
    """Int64[C, C]: row true, column heard."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A network with the weights of its best epoch."""

    network: nn.Module
    front_end: FrontEnd
    validation: Verdict
    test: Verdict
    best_epoch: int
    epochs: int
    seconds: float


class TooShort(DataError):
    """The data set's clips have fewer frames than the network needs."""


def build(
    settings: ClassifierSettings, classes: int, sample_rate: int, length: int
) -> tuple[nn.Module, FrontEnd]:
    """An untrained network, and the front end it wants. Raises: TooShort."""
    if settings.network == "resnext":
        return ResNeXt(classes), published_front_end()
    front_end = small_front_end(sample_rate, length)
    shortest = (LEAST_FRAMES - 1) * front_end.mel.hop
    if length < shortest:
        raise TooShort(
            f"clips of {length} samples at {sample_rate} Hz are too short for a classifier: it needs "
            f"{shortest} at least"
        )
    return SmallNetwork(classes, settings.width), front_end


def train(
    labelled: Labelled, settings: ClassifierSettings, device: torch.device, progress: Progress
) -> Trained:
    """Raises: TooShort."""
    seed = derive_seed("classifier", settings.seed)
    with _reproducible(device), precision("float32"), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        network, front_end = build(settings, labelled.classes, labelled.sample_rate, labelled.dataset.length)
        return _Training(labelled, settings, network.to(device), front_end, device, seed, progress).run()


class _Training:
    def __init__(
        self,
        labelled: Labelled,
        settings: ClassifierSettings,
        network: nn.Module,
        front_end: FrontEnd,
        device: torch.device,
        seed: int,
        progress: Progress,
    ) -> None:
        self.labelled, self.settings, self.progress = labelled, settings, progress
        self.network, self.front_end, self.device = network, front_end, device
        self.epochs = settings.epochs_for(labelled.count("train"))
        self.order = np.random.default_rng(seed)
        self.batches = -(-labelled.count("train") // settings.batch_size)
        self.optimizer = _optimizer(settings, network)
        draws = torch.Generator(device).manual_seed(seed)
        self.augmentation = Augmentation(settings, front_end.sample_rate, draws)
        self.started = time.monotonic()
        self.words = ""

    def run(self) -> Trained:
        settings = self.settings
        steps = self.epochs * self.batches
        if settings.schedule == "one_cycle":
            cycle = torch.optim.lr_scheduler.OneCycleLR(
                self.optimizer, settings.learning_rate, total_steps=steps
            )
        else:
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, patience=settings.patience)
        best: tuple[float, float] | None = None
        for epoch in range(self.epochs):
            for number, clips in enumerate(self._epoch()):
                self._say(epoch * self.batches + number, steps)
                self._step(clips)
                if settings.schedule == "one_cycle":
                    cycle.step()
            verdict = classify(self.network, self.front_end, self.labelled, "validation", self.device)
            if settings.schedule == "plateau":
                plateau.step(verdict.loss)
            if best is None or (verdict.accuracy, -verdict.loss) > best:
                best, best_epoch, validation = (verdict.accuracy, -verdict.loss), epoch + 1, verdict
                weights = {name: value.clone() for name, value in self.network.state_dict().items()}
            self.words = f"validation {verdict.accuracy:.1%} right"
        self.network.load_state_dict(weights)
        test = classify(self.network, self.front_end, self.labelled, "test", self.device)
        self.progress(1.0, f"test {test.accuracy:.1%} right")
        return Trained(
            network=self.network,
            front_end=self.front_end,
            validation=validation,
            test=test,
            best_epoch=best_epoch,
            epochs=self.epochs,
            seconds=time.monotonic() - self.started,
        )

    def _epoch(self) -> Iterator[np.ndarray]:
        """Every clip once, in batches of nearly the same size."""
        order = self.order.permutation(self.labelled.count("train"))
        for batch in np.array_split(order, self.batches):
            yield np.sort(batch)  # neighbours in the file

    def _step(self, clips: np.ndarray) -> None:
        self.network.train()
        waveforms, labels = self.labelled.read("train", clips)
        with torch.no_grad():
            loaded = self.front_end.load(waveforms, self.labelled.sample_rate).to(self.device)
            mel = self.augmentation.of_spectra(self.front_end(self.augmentation.of_waveforms(loaded)))
        _, logits = self.network(mel)
        loss = F.cross_entropy(logits, torch.from_numpy(labels).to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def _say(self, step: int, steps: int) -> None:
        elapsed = time.monotonic() - self.started
        left = f"about {duration(elapsed * (steps - step) / step)} left" if step else ""
        epoch = f"epoch {step // self.batches + 1} of {self.epochs}"
        self.progress(step / steps, ", ".join(filter(None, (epoch, self.words, left))))


def silent(fraction: float, text: str) -> None:
    """Progress that nobody watches."""


@torch.no_grad()
def classify(
    network: nn.Module,
    front_end: FrontEnd,
    labelled: Labelled,
    split: str,
    device: torch.device,
    progress: Progress = silent,
) -> Verdict:
    """A whole split, as it is."""
    network.eval()
    confusion = np.zeros((labelled.classes, labelled.classes), dtype=np.int64)
    loss, total = 0.0, labelled.count(split)
    for start in range(0, total, BATCH):
        progress(start / total, f"classified {start} of {total} clips of {split}")
        clips = np.arange(start, min(start + BATCH, total))
        waveforms, labels = labelled.read(split, clips)
        _, logits = network(front_end(front_end.load(waveforms, labelled.sample_rate).to(device)))
        targets = torch.from_numpy(labels).to(device)
        loss += F.cross_entropy(logits, targets, reduction="sum").item()
        np.add.at(confusion, (labels, logits.argmax(dim=1).cpu().numpy()), 1)
    return Verdict(accuracy=int(confusion.trace()) / total, loss=loss / total, confusion=confusion)


def _optimizer(settings: ClassifierSettings, network: nn.Module) -> torch.optim.Optimizer:
    parameters: list[Tensor] = list(network.parameters())
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, settings.learning_rate, momentum=0.9, weight_decay=settings.weight_decay
        )
    return torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)


@contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """One thread and random numbers of our own inside the block; both as they were after it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        torch.set_num_threads(threads)
