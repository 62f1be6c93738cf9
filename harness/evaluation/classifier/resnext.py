"""ResNeXt-29 8x64d, the classifier of the published evaluation of SC09.

Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017, the CIFAR network
of their section 5.3, on one channel: a log-mel spectrogram of 32 x 32. A block, with G = 8 groups:

    y = relu(x' + BN(1x1(relu(BN(3x3 in G groups(relu(BN(1x1(x)))))))))      x' = x, or BN(1x1(x))

Three stages of three blocks, 256, 512 and 1024 channels wide and 512, 1024 and 2048 within a block;
the second and third halve both sides. A mean over what is left gives 1024 features. 34.4 M parameters.
The modules bear the names of the published files (state-spaces/s4, models/sashimi/sc09_classifier), so
that weights load without a table of names.

Shapes: B batch, C classes.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 8
FEATURES = 1024
STAGES = ((64, 256, 1), (256, 512, 2), (512, FEATURES, 2))
"""Channels in, channels out, stride."""
BLOCKS = 3


class ResNeXt(nn.Module):
    """Float[B, 32, 32] -> features Float[B, 1024], logits Float[B, C]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv_1_3x3 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
        self.bn_1 = nn.BatchNorm2d(64)
        self.stage_1, self.stage_2, self.stage_3 = (
            _stage(f"stage_{number}", *sizes) for number, sizes in enumerate(STAGES, start=1)
        )
        self.classifier = nn.Linear(FEATURES, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        nn.init.kaiming_normal_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.bn_1(self.conv_1_3x3(mel[:, None])))
        features = self.stage_3(self.stage_2(self.stage_1(x))).mean(dim=(2, 3))
        return features, self.classifier(features)


def _stage(name: str, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    stage = nn.Sequential()
    for number in range(BLOCKS):
        first = number == 0
        block = Bottleneck(inputs if first else outputs, outputs, stride if first else 1)
        stage.add_module(f"{name}_bottleneck_{number}", block)
    return stage


class Bottleneck(nn.Module):
    """See the head of this file."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        within = 2 * outputs  # 8 groups of 64 channels where there are 256 outputs
        self.conv_reduce = nn.Conv2d(inputs, within, 1, bias=False)
        self.bn_reduce = nn.BatchNorm2d(within)
        self.conv_conv = nn.Conv2d(within, within, 3, stride, padding=1, groups=GROUPS, bias=False)
        self.bn = nn.BatchNorm2d(within)
        self.conv_expand = nn.Conv2d(within, outputs, 1, bias=False)
        self.bn_expand = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if inputs != outputs:
            self.shortcut.add_module("shortcut_conv", nn.Conv2d(inputs, outputs, 1, stride, bias=False))
            self.shortcut.add_module("shortcut_bn", nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn_reduce(self.conv_reduce(x)))
        inner = F.relu(self.bn(self.conv_conv(inner)))
        return F.relu(self.shortcut(x) + self.bn_expand(self.conv_expand(inner)))
