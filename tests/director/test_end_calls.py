"""Many calls of a dead server are ended, so many at a time; a server that is back in between keeps the rest."""

from __future__ import annotations

import pytest

from sipbalancer.director.dialogs import Dialog
from sipbalancer.director.end_calls import AT_ONCE
from sipbalancer.director.pins import PinKind
from sipbalancer.director.verdict import ProbeResult
from sipbalancer.sip.flow import flow_of
from tests.director.stage import PHONE, A, B, Stage, packed, real, service_of

CALLS = 3 * AT_ONCE


def _in_calls() -> Stage:
    stage = Stage(service_of(endcalls=True))
    state = stage.table.state
    server = next(iter(state.services.values())).by_packed[packed(A)]
    for key in range(1, CALLS + 1):
        dialog = Dialog(server, flow_of(0, packed(PHONE)), b"call-%d" % key)
        dialog.local, dialog.remote, dialog.target = b"<sip:a@a>;tag=a", b"<sip:b@b>;tag=b", b"sip:b@10.1.0.1"
        state.dialogs.held[key] = dialog
        state.pins.put(key, server.serial, PinKind.CALL, stage.now + 3600)
    return stage


def _byes(stage: Stage) -> int:
    stage.now += 0.05
    return sum(data.startswith(b"BYE ") for data, _ in stage.table.forwarder.due(stage.now))


def test_a_refused_port_ends_its_calls_in_parts() -> None:
    stage = _in_calls()
    stage.judge(A, result=ProbeResult.REFUSED)
    assert [_byes(stage) for _ in range(5)] == [AT_ONCE, AT_ONCE, AT_ONCE, 0, 0]
    assert any(f"{CALLS} calls are ended by BYE" in text for text in stage.table.events())


def test_a_server_that_is_back_keeps_the_rest() -> None:
    stage = _in_calls()
    stage.judge(A, result=ProbeResult.REFUSED)
    assert _byes(stage) == AT_ONCE
    stage.judge(A)
    assert _byes(stage) == 0
    assert len(stage.table.state.dialogs.held) == CALLS - AT_ONCE


def test_silence_needs_deaddialogs() -> None:
    stage = _in_calls()
    stage.judge(A, result=ProbeResult.TIMEOUT)
    assert _byes(stage) == 0
    stage.now += 10
    assert _byes(stage) == AT_ONCE


@pytest.mark.parametrize("sign", ["heard", "own"])
def test_a_sign_of_life_while_it_is_down_counts_deaddialogs_anew(sign: str) -> None:
    stage = _in_calls()
    stage.judge(A, result=ProbeResult.TIMEOUT)
    stage.now += 6
    server = next(iter(stage.table.state.services.values())).by_packed[packed(A)]
    setattr(server.health.evidence, sign, stage.now)  # it answered inside a call, or asked by itself: no dead server
    stage.now += 6
    assert _byes(stage) == 0
    stage.now += 5
    assert _byes(stage) == AT_ONCE


@pytest.mark.interpreted
def test_one_call_that_cannot_be_ended_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, tried = _in_calls(), []

    def end(service: object, key: int, dialog: object, now: float) -> None:
        tried.append(key)
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(stage.table.forwarder.end_calls, "_end", end)
    stage.judge(A, result=ProbeResult.REFUSED)
    assert _byes(stage) == 0
    assert len(tried) == stage.table.state.internal_errors == AT_ONCE


def test_a_server_that_left_the_file_is_probed_until_its_calls_are_ended() -> None:
    stage = _in_calls()
    stage.judge(A, result=ProbeResult.TIMEOUT)
    lost = stage.server(A).health
    stage.apply(service_of(real(B), endcalls=True))
    assert lost in stage.table.healths and stage.table.users_of(lost) == (stage.service,)
    assert not stage.table.let_go(lost, stage.now + 10) and _byes(stage) == 0
    stage.now += 10
    assert [_byes(stage) for _ in range(4)] == [AT_ONCE, AT_ONCE, AT_ONCE, 0]
    stage.apply(service_of(real(B), endcalls=True))
    assert lost in stage.table.healths
    assert stage.table.let_go(lost, stage.now + 100) and lost not in stage.table.healths


@pytest.mark.parametrize("result", [ProbeResult.OK, ProbeResult.UNAVAILABLE])
def test_one_that_answers_is_let_go_and_its_calls_live(result: ProbeResult) -> None:
    stage = _in_calls()
    stage.judge(A, result=ProbeResult.TIMEOUT)
    lost = stage.server(A).health
    stage.apply(service_of(real(B), endcalls=True))
    stage.judge(A, result=result)
    assert stage.table.let_go(lost, stage.now) and _byes(stage) == 0
    stage.now += 100
    assert _byes(stage) == 0


def test_one_that_nobody_probes_proves_nothing() -> None:
    stage = _in_calls()
    stage.apply(service_of(endcalls=False))
    stage.judge(A, result=ProbeResult.TIMEOUT)
    stage.apply(service_of(real(B), endcalls=False))
    assert stage.server(A).health not in stage.table.healths
    stage.apply(service_of(real(B), endcalls=True))
    stage.now += 100
    assert _byes(stage) == 0


def test_a_server_in_the_file_is_not_let_go() -> None:
    stage = _in_calls()
    assert not stage.table.let_go(stage.server(A).health, stage.now + 1000)
