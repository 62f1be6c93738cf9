"""Which of several backends computes: the one asked for, or the first that can; and their names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


def choose(reasons: Mapping[str, str | None], name: str | None) -> str:
    """The name of a backend, given for each why it cannot be used, or None: it can.

    Raises: ValueError for a name that is unknown or cannot be used, with the reason: what is slower is
    never taken silently in its place.
    """
    if name is None:
        return next(known for known, reason in reasons.items() if reason is None)
    if name not in reasons:
        raise ValueError(f"backend must be one of {', '.join(reasons)}, got {name!r}")
    if reasons[name] is not None:
        raise ValueError(f"the backend {name!r} cannot be used here: {reasons[name]}")
    return name


def scan_backends(model: nn.Module) -> str:
    """The `scan_backend` of each layer that has one, each name once, in the order of the layers."""
    names = (getattr(layer, "scan_backend", "") for layer in model.modules() if layer is not model)
    return ", ".join(dict.fromkeys(name for name in names if name))
