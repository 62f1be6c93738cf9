"""Memory horizon."""

from __future__ import annotations

from dataclasses import dataclass

from harness.contracts import FigureData, NotEnoughData


class Horizon:
    """How far back each level remembers."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        pass

    def __init__(self, config: Config) -> None:
        self.config = config

    def draw(self, data: FigureData):
        raise NotEnoughData("later")
