"""template_name.py is ready for a suite: all that `harness check` looks at."""

from pathlib import Path

from harness.conformance import check_file


def test_template_name_is_ready_for_a_suite() -> None:
    verdicts = check_file(Path(__file__).with_name("template_name.py"))
    assert not [str(verdict) for verdict in verdicts if not verdict.passed]
