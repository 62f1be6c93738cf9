"""The weights of the authors' S4 layer (state-spaces/s4, models/s4/s4.py), brought into ours.

Theirs are named by their modules: `layer.kernel.*`, `layer.D`, `output_linear.0.*`. They have further
axes of size 1; all else is laid out alike. Their first forward pass at a length L replaces C by
C~ = C (I - A^L), from then on the parameter, and sets `l_kernel` to L; here C is recovered from it.

Shapes: D channels, N real numbers in the state of a channel.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from harness.errors import HarnessError
from models.mixers.s4 import S4, NormalPlusLowRankSpace

OURS = {
    "layer.D": "direct",
    "layer.kernel.inv_dt": "ssm.log_step",
    "layer.kernel.A_real": "ssm.log_decay",
    "layer.kernel.A_imag": "ssm.frequency",
    "layer.kernel.P": "ssm.p",
    "layer.kernel.B": "ssm.b",
    "layer.kernel.C": "ssm.c",
    "output_linear.0.weight": "output.weight",
    "output_linear.0.bias": "output.bias",
}
"""Their name -> ours."""
LENGTH = "layer.kernel.l_kernel"


@torch.no_grad()
def load_original_s4(layer: S4, arrays: Mapping[str, np.ndarray]) -> None:
    """Copies the authors' arrays into a layer, keeping its precision; without `l_kernel`, C is plain.

    Raises: HarnessError naming the arrays that are missing, left over, or of another size.
    """
    wrong = OURS.keys() ^ (arrays.keys() - {LENGTH})
    if wrong:
        raise HarnessError(f"not the weights of an S4 layer: missing or not used {', '.join(sorted(wrong))}")
    for theirs, ours in OURS.items():
        parameter, array = layer.get_parameter(ours), torch.as_tensor(np.asarray(arrays[theirs]))
        if array.numel() != parameter.numel():
            raise HarnessError(
                f"{theirs} has shape {list(array.shape)}, this layer's {ours} {list(parameter.shape)}"
            )
        parameter.copy_(array.view_as(parameter))
    length = int(arrays.get(LENGTH, 0))
    if length > 0:
        layer.ssm.c.copy_(plain_c(layer.ssm, length))


def plain_c(ssm: NormalPlusLowRankSpace, length: int) -> Tensor:
    """The C, [D, N/2, 2], of which the C~ = C (I - A^L) that stands in its place in `ssm` was made."""
    system = copy.deepcopy(ssm).double().system()
    identity = torch.eye(system.c.shape[-1], dtype=torch.float64, device=system.c.device)
    identity = identity.expand(len(system.c), -1, -1)
    row = torch.linalg.solve(identity - system.after(identity, length), system.c.mT).squeeze(-1)
    # the system's row is 2 (Re C, -Im C), parts side by side
    return row.unflatten(-1, (-1, 2)) * torch.tensor([0.5, -0.5], dtype=row.dtype, device=row.device)
