"""The laws that every model and mixer must keep, and the functions that check them.

    from harness.conformance import check_model
    for verdict in check_model("transformer"):
        print(verdict)

The same laws run over everything registered in our tests, and over a stranger's file in
`harness check`, which also trains ten steps and looks at data sets, metrics and figures.
To add a law, write a function in `laws.py` and put it into the tuple.
"""

from harness.conformance.check import (
    check_file,
    check_mixer,
    check_model,
    check_registered,
    examples_of,
    registered_by,
)
from harness.conformance.verdict import Verdict, Violation

__all__ = [
    "Verdict",
    "Violation",
    "check_file",
    "check_mixer",
    "check_model",
    "check_registered",
    "examples_of",
    "registered_by",
]
