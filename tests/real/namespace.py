"""A network namespace of our own. This thread is in it for one test at a time: the rest of the session is undisturbed.

What a test starts (processes, threads, sockets) is born inside. Only the loopback interface is there.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

CLONE_NEWNET = 0x40000000
HERE = "/proc/thread-self/ns/net"
SOFT_PHONES = tuple(f"10.99.0.{last}" for last in range(31, 37))
"""baresip does not believe in 127.0.0.0/8: it wants an address that looks like a network's."""


class Namespace:
    """Raises PermissionError where the user may not make one."""

    def __init__(self, inside: int, home: int) -> None:
        self._inside = inside
        self._home = home

    @classmethod
    def create(cls) -> Self:
        libc = ctypes.CDLL(None, use_errno=True)
        home = os.open(HERE, os.O_RDONLY)
        try:
            if libc.unshare(CLONE_NEWNET):
                raise PermissionError(ctypes.get_errno(), "a network namespace cannot be made")
            namespace = cls(os.open(HERE, os.O_RDONLY), home)
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            for address in SOFT_PHONES:
                subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
            return namespace
        finally:
            _enter(home)

    @contextmanager
    def entered(self) -> Iterator[None]:
        _enter(self._inside)
        try:
            yield
        finally:
            _enter(self._home)

    @contextmanager
    def left(self) -> Iterator[None]:
        """Within `entered`: outside again, where a mirror can be reached."""
        _enter(self._home)
        try:
            yield
        finally:
            _enter(self._inside)


def _enter(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns failed")
