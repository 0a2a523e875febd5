"""When a row says nothing of the balancer."""

from __future__ import annotations

from bench.faults.fitness import why_void


def void(late: float = 0.0, drops: int = 0, idle: float = 50.0, wait: float = 0.0, *, first: bool = False) -> str:
    return why_void([], late, drops, idle, wait, before_others=first)


def test_a_quiet_run_is_fit() -> None:
    assert void() == ""


def test_each_way_to_be_void() -> None:
    assert why_void(["a2"], 0.0, 0, 50.0, 0.0, before_others=True) == "Asterisk a2 died of itself"
    assert "0.30 s late" in void(late=0.3)
    assert "missed 3 datagrams" in void(drops=3)
    assert "no CPU 30 %" in void(wait=30.0)


def test_a_busy_machine_voids_only_who_has_to_wait_for_it() -> None:
    assert void(idle=3.0) == "less than 15 % idle"
    assert void(idle=3.0, first=True) == ""
