"""A small Poolformer of three levels, for the tests of the memory horizon."""

import pytest
from known_memories import build


@pytest.fixture(scope="module")
def poolformer():
    return build("poolformer", width=8, pooling=[2, 3], layers=1)
