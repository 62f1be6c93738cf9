"""What the tests of the state-space mixers share."""

from __future__ import annotations

from typing import Any

import mixer_laws

HIPPO = [{"name": "s4"}, {"name": "s4", "algorithm": "cauchy"}, {"name": "s4d"}, {"name": "s5", "state": 64}]
"""At the initialisation of the papers, where numbers are hard to keep."""


def mixer(spec: dict[str, Any], width: int = 4) -> Any:
    return mixer_laws.mixer(spec, width)
