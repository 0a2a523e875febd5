from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sipbalancer.daemon.shared_memory import ProcessLock, SharedMemory, new_memory


def test_new_memory_is_zeros_and_another_map_of_the_file_sees_what_is_written() -> None:
    one = new_memory("test", 5000)
    two = SharedMemory(os.dup(one.descriptor))
    assert len(one.memory) == 5000 and not any(one.memory[:])
    one.memory[10] = 7
    assert two.memory[10] == 7
    one.close()
    assert two.memory[10] == 7
    two.close()
    two.close()


def test_what_cannot_be_mapped_is_closed() -> None:
    read, write = os.pipe()
    os.close(write)
    with pytest.raises((OSError, ValueError)):
        SharedMemory(read)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(read)


def test_the_lock_of_a_process_that_died_is_free() -> None:
    memory = new_memory("test", 100)
    lock = ProcessLock(memory.descriptor)
    with lock:
        pass
    code = (
        "import os; from sipbalancer.daemon.shared_memory import ProcessLock;"
        f"ProcessLock({memory.descriptor}).__enter__(); print('held', flush=True); os.read(0, 1); os._exit(1)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code],
        pass_fds=(memory.descriptor,),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None and other.stdin is not None
    assert other.stdout.readline() == b"held\n"
    other.kill()
    other.communicate()
    with lock:
        pass
    memory.close()
