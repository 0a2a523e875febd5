"""Which event loop our processes run on."""

from __future__ import annotations

import builtins
from types import ModuleType

import pytest
import uvloop

from sipbalancer.daemon.loop import loop_factory


def test_uvloop_where_it_is_installed() -> None:
    assert loop_factory() is uvloop.new_event_loop


def test_asyncios_own_where_uvloop_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_uvloop(name: str, *args: object, **kwargs: object) -> ModuleType:
        if name == "uvloop":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_uvloop)
    assert loop_factory() is None
