"""Which event loop our processes run on."""

from __future__ import annotations

import builtins
import gc
from types import ModuleType

import pytest
import uvloop

from sipbalancer.daemon.loop import YOUNG, loop_factory, settle


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


def test_once_settled_the_collector_leaves_alone_what_was_there_and_looks_seldom_at_what_comes() -> None:
    before = gc.get_threshold()
    try:
        settle()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold() == (YOUNG, *before[1:])
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
