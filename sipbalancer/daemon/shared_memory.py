"""Memory that the control process and its workers share: made here by name of nobody, handed on as open files.

A worker maps what it is given. What lies in it is the director's (`shared_pins`, `words`, `stripes`).
"""

from __future__ import annotations

import fcntl
import mmap
import os


class SharedMemory:
    """An open file, mapped. `close` lets go of both; views of the memory must be released before."""

    def __init__(self, descriptor: int) -> None:
        """Owns the descriptor. OSError when it cannot be mapped."""
        self.descriptor = descriptor
        try:
            self.memory = mmap.mmap(descriptor, 0)
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        if self.descriptor >= 0:
            self.memory.close()
            os.close(self.descriptor)
            self.descriptor = -1


def new_memory(name: str, size: int) -> SharedMemory:
    """Zeros of that many bytes; the name is for /proc alone. OSError when there is no room."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, size)
    except BaseException:
        os.close(descriptor)
        raise
    return SharedMemory(descriptor)


class ProcessLock:
    """One process at a time; the kernel takes it back from one that dies. Reusable, not reentrant."""

    def __init__(self, descriptor: int) -> None:
        """Any open file that all of them have; it is neither read nor written."""
        self._descriptor = descriptor

    def __enter__(self) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
