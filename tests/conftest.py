"""Options that several test folders share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--goldens",
        type=Path,
        default=Path(__file__).parent / "goldens",
        metavar="DIR",
        help="folder of golden vectors for tests/parity (default: the slim copies in tests/goldens)",
    )
