"""The operator's file on disk: read it whole, and notice that it changed. What it means is `config`'s."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from sipbalancer.config.parser import Parsed, parse
from sipbalancer.config.services import WELL_KNOWN, read_services
from sipbalancer.errors import ConfigError, Finding

LARGEST_FILE = 16 << 20
"""Bytes; a pool of 10,000 servers needs one."""
SERVICES = Path("/etc/services")


def read_config(path: Path) -> Parsed:
    """Read and parse the file. ConfigError, and nothing else, when it cannot be read or is wrong."""
    return parse(_text(path), str(path), port_names(SERVICES))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError((Finding(str(path), 0, "", f"cannot be read: {reason.lower()}"),)) from error
    if len(data) > LARGEST_FILE:
        raise ConfigError((Finding(str(path), 0, "", f"larger than {LARGEST_FILE >> 20} MiB: not a file of ours"),))
    # Old files carry Latin-1 in their comments; in a value such a character is the parser's to refuse.
    return data.decode("utf-8", "replace")


def port_names(path: Path) -> Mapping[str, int]:
    """Names of ports as /etc/services has them, under the few that are built in; only those when it is missing."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return WELL_KNOWN
    return {**read_services(text), **WELL_KNOWN}


class FileWatch:
    """Whether the file's content changed since the last look: its times first, its hash only when they differ.

    A file that is missing (an editor is just writing it) has not changed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._look()
        self._hash = self._content()

    def changed(self) -> bool:
        """True once per change of content; a touch alone is none."""
        stamp = self._look()
        if stamp is None or stamp == self._stamp:
            return False
        content = self._content()
        if content is None:
            return False
        before, self._hash, self._stamp = self._hash, content, stamp
        return before != content

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _content(self) -> bytes | None:
        try:
            with self._path.open("rb") as file:
                return hashlib.blake2b(file.read(LARGEST_FILE + 1)).digest()
        except OSError:
            return None
