"""Whether a server can be reached, asked before a client library spends minutes on finding out."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

SECONDS = 3.0


def reachable(url: str) -> bool:
    """Whether something listens where the URL of a server points."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    if parts.hostname is None or port is None:
        return False
    try:
        socket.create_connection((parts.hostname, port), timeout=SECONDS).close()
    except OSError:
        return False
    return True
