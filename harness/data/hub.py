"""Files of data sets on the Hugging Face hub, gated ones too.

HF_TOKEN and HF_ENDPOINT (a mirror) mean here what they mean to the hub's own client. The hub tells
the sha256 of a large file as it redirects to it, which `download` compares.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from harness.data.download import Source

ENDPOINT = "https://huggingface.co"


def hub_source(
    repository: str,
    files: Sequence[str],
    *,
    what: str,
    otherwise: str,
    revision: str = "main",
    sha256: str | None = None,
) -> Source:
    """A file of a data set's repository, under the first of these names that it has there."""
    endpoint = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
    token = os.environ.get("HF_TOKEN", "").strip() or None
    page = f"{endpoint}/datasets/{repository}"
    refused = (
        f"Sign in at {page} and accept its terms there; make a token that may read at "
        f"{endpoint}/settings/tokens; set the environment variable HF_TOKEN to it, and run the command again"
    )
    if token:
        refused = (
            f"HF_TOKEN is set, but its account has not accepted the terms at {page}, or the token is no "
            f"longer valid or may not read gated repositories (see {endpoint}/settings/tokens)"
        )
    return Source(
        addresses=[f"{page}/resolve/{revision}/{file}" for file in files],
        what=what,
        sha256=sha256,
        token=token,
        refused=f"{refused}. {otherwise}",
        otherwise=otherwise,
    )
