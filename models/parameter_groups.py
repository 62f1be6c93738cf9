"""Which parameters of a model train differently: its mixers know.

A mixer may have two methods, each of which names parameters that weight decay would harm:

    ssm_parameters():       of the dynamics of a state space (A, B, step sizes), which the originals also
                            train at a learning rate of their own: 1e-3, whatever the rest's
    no_decay_parameters():  others, such as the A and D of Mamba
"""

from __future__ import annotations

from torch import nn

from harness.contracts import ParameterGroup


def parameter_groups(model: nn.Module, *, ssm_learning_rate_scale: float = 1.0) -> list[ParameterGroup]:
    """Of all mixers anywhere in the model; what none of them names trains by default.

    ssm_learning_rate_scale: factor on the learning rate of `ssm_parameters`.
    """
    ssm = _named(model, "ssm_parameters")
    others = {key: p for key, p in _named(model, "no_decay_parameters").items() if key not in ssm}
    scales = ((ssm, ssm_learning_rate_scale), (others, 1.0))
    return [
        ParameterGroup(parameters=list(found.values()), learning_rate_scale=scale, weight_decay=False)
        for found, scale in scales
        if found
    ]


def _named(model: nn.Module, method: str) -> dict[int, nn.Parameter]:
    """Each parameter once: a mixer and a part of it may both name it."""
    parts = (module for module in model.modules() if callable(getattr(module, method, None)))
    return {id(parameter): parameter for part in parts for parameter in getattr(part, method)()}
