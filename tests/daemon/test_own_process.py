from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sipbalancer import compiled
from sipbalancer.daemon import own_process

TELL = "import sipbalancer.compiled as found; print(found.__file__)"


def test_a_package_in_the_current_folder_is_not_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sipbalancer").mkdir()
    (tmp_path / "sipbalancer" / "__init__.py").write_text("raise SystemExit('the folder that we stand in')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "tell.py").write_text(TELL)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    words = own_process.command("tell")
    done = subprocess.run(words, capture_output=True, text=True, env=own_process.environment(), check=False)
    assert (done.stdout.strip(), done.stderr) == (compiled.__file__, "")
