"""The default classifier: small enough for a laptop, accurate enough for sets of a few thousand clips.

Four convolutions with batch normalisation and ReLU, a mean over time and frequency, one linear layer:

    5x5 stride 2, pool 2, 3x3 to 2W, pool 2, 3x3 to 4W, 3x3, mean -> features Float[B, 4W] -> classes

The features are few (96 at the default width) on purpose: a Fréchet distance is biased by about their
number over the number of clips, and small sets have few clips.

Shapes: B batch, m mels, n frames, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEAST_FRAMES = 8
"""Of which the halvings leave one."""


class SmallNetwork(nn.Module):
    """A convolutional network on log-mel spectrograms of any size."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(1, width, kernel=5, stride=2),
            nn.MaxPool2d(2),
            *_convolution(width, 2 * width),
            nn.MaxPool2d(2),
            *_convolution(2 * width, 4 * width),
            *_convolution(4 * width, 4 * width),
        )
        self.classifier = nn.Linear(4 * width, classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a quarter faster on a CPU

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Float[B, m, n] -> features Float[B, 4W], logits Float[B, C]."""
        features = self.layers(mel[:, None]).mean(dim=(2, 3))
        return features, self.classifier(features)


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
