"""The secret file: the keys that seal flow tokens, branches and pins.

One key per line, 64 hex digits, newest first: the first seals, all open. At most two, so that a key can be changed:
put the new line on top, restart, and take the old line away when the last registration made under it is over.
Empty lines and lines that begin with # are ignored. Two balancers of a pair share one file.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sipbalancer.errors import ConfigError, EnvironmentFault, Finding

KEY_BYTES = 32
KEYS_AT_MOST = 2


def new_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


def read_keys(path: Path) -> tuple[bytes, ...]:
    """The keys of an existing file, newest first; ConfigError for what is not a key, OSError as the system gives it."""
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    keys: list[bytes] = []
    findings: list[Finding] = []
    for number, line in enumerate(lines, 1):
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        key = _key(word)
        if key is not None:
            keys.append(key)
        else:
            findings.append(Finding(str(path), number, "secret", f"not a key: write {KEY_BYTES * 2} hex digits"))
    if not findings and not 1 <= len(keys) <= KEYS_AT_MOST:
        advice = f"{len(keys)} keys: leave one or two, newest first (a missing file is made anew)"
        findings.append(Finding(str(path), max(len(lines), 1), "secret", advice))
    if findings:
        raise ConfigError(tuple(findings))
    return tuple(keys)


def _key(word: str) -> bytes | None:
    try:
        key = bytes.fromhex(word)
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None


def make_keys(path: Path) -> tuple[bytes, ...]:
    """Create the file with one fresh key, mode 0600; OSError when it cannot be made."""
    key = new_key()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    return (key,)


def named_keys(path: Path) -> tuple[bytes, ...]:
    """The keys of the file that `secret =` names, made when missing.

    The operator asked for this very file (a pair shares it), so going on with another key would break the pair
    silently: EnvironmentFault.
    """
    try:
        return read_keys(path) if path.exists() else make_keys(path)
    except OSError as error:
        raise EnvironmentFault(
            f"{path}: {error.strerror}: the secret file must be readable by this user"
            f" (uid {os.geteuid()}), or its folder writable so that it can be made"
        ) from error


def others_may_read(path: Path) -> bool:
    """Whether the file's mode lets anyone but its owner and group read the keys."""
    try:
        return bool(path.stat().st_mode & 0o007)
    except OSError:
        return False
