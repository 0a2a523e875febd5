from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec

import pytest

from sipbalancer import compiled


@pytest.mark.parametrize(
    ("origin", "word"), [(f"forwarder{EXTENSION_SUFFIXES[0]}", "compiled"), ("forwarder.py", "interpreted")]
)
def test_what_runs_is_told_by_the_forwarder_s_file(origin: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "find_spec", lambda name: ModuleSpec(name, None, origin=origin))
    assert compiled.runs() == word
