"""Nothing in a folder of goldens is passed over in silence."""

from __future__ import annotations

from pathlib import Path

from golden_cases import BUILT, KINDS, TESTED_ELSEWHERE, cases_in


def test_the_folder_holds_cases(goldens: Path) -> None:
    assert goldens.is_dir(), f"--goldens: no such folder: {goldens}"
    assert cases_in(goldens), f"no Poolformer case in {goldens}; expected {' or '.join(BUILT)} below it"


def test_every_folder_of_cases_is_known(goldens: Path) -> None:
    folders = {path.parent.name for path in goldens.glob("*/*.json")}
    assert folders <= {*BUILT, *TESTED_ELSEWHERE}


def test_every_case_is_of_a_kind_that_is_tested(goldens: Path) -> None:
    kinds = {case.path.stem: case.facts.get("kind") for case in cases_in(goldens)}
    assert {name: kind for name, kind in kinds.items() if kind not in KINDS} == {}
