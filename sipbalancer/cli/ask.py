"""The client of the admin socket: one question, one answer, each a line of JSON."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from sipbalancer.errors import AdminError, EnvironmentFault

ANSWER_SECONDS = 10.0
READ_BYTES = 1 << 16


def ask(path: Path, **request: object) -> Any:
    """What the balancer at `path` answers.

    EnvironmentFault when none answers there, saying which path and what to do; AdminError when it refuses.
    """
    try:
        line = _exchange(path, json.dumps(request).encode() + b"\n")
        answer = json.loads(line)
    except PermissionError as error:
        raise EnvironmentFault(f"{path}: permission denied: run as root or as the balancer's user or group") from error
    except (OSError, ValueError) as error:
        raise EnvironmentFault(_nobody(path, error)) from error
    if not isinstance(answer, dict) or not answer.keys() & {"result", "error"}:
        raise EnvironmentFault(_nobody(path, ValueError("something else answers there")))
    if "error" in answer:
        raise AdminError(str(answer["error"]))
    return answer["result"]


def _exchange(path: Path, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(ANSWER_SECONDS)
        sock.connect(str(path))
        sock.sendall(line)
        answer = bytearray()
        while not answer.endswith(b"\n"):
            part = sock.recv(READ_BYTES)
            if not part:
                break
            answer += part
        return bytes(answer)


def _nobody(path: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, json.JSONDecodeError):
        reason = "the connection ended without an answer"
    return (
        f"no balancer answers at {path} ({reason.lower()}): start one with: sipbalancer run FILE;"
        " or name its socket with --admin PATH, or its file with --config FILE"
    )
