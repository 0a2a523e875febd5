from __future__ import annotations

import subprocess
import sys

import pytest

CHILD = (
    "import os, signal; from sipbalancer.daemon.parent import end_with_parent; end_with_parent();"
    "os.write(1, b'there'); signal.pause()"
)
PARENT = f"import subprocess, sys, signal;child = subprocess.Popen([sys.executable, '-c', {CHILD!r}]);signal.pause()"


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_process_ends_with_the_one_that_started_it() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.read(5) == b"there"
    parent.kill()
    parent.wait()
    assert parent.stdout.read() == b"", "the pipe ends when the child, its last holder, is dead"
    parent.stdout.close()
