"""Finds the golden cases in the folder given with --goldens, by what their JSON files say.

A test that takes `forward_case`, `layer_case`, `trace_case`, `initial_case` or `embedding_case`
runs once for each case of that kind.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from golden_cases import KINDS, cases_in


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    found = cases_in(metafunc.config.getoption("goldens"))
    for kind, fixture in KINDS.items():
        if fixture in metafunc.fixturenames:
            cases = [case for case in found if case.facts.get("kind") == kind]
            metafunc.parametrize(fixture, cases, ids=[case.path.stem for case in cases])


@pytest.fixture
def goldens(request: pytest.FixtureRequest) -> Path:
    return request.config.getoption("goldens")
