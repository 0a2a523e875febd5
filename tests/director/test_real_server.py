"""What one server is called, worth and counted by."""

from __future__ import annotations

from sipbalancer.director.verdict import ProbeResult, Verdict
from tests.director.stage import A, B, C, Stage, real, service_of


def test_verdict_and_reason_by_weight_drain_and_file() -> None:
    stage = Stage(service_of(real(A, weight=0), real(B), real(C)))
    stage.table.drain(B, stage.now)
    reasons = {server.key: (server.verdict, server.reason) for server in stage.service.servers}
    assert reasons[A] == (Verdict.DRAINING, "weight 0")
    assert reasons[B] == (Verdict.DRAINING, "drained by the operator")
    assert reasons[C][0] is Verdict.UP
    server = stage.server(C)
    stage.apply(service_of(real(A), real(B)))
    assert (server.verdict, server.reason) == (Verdict.DRAINING, "no longer in the file")
    stage.judge(B, result=ProbeResult.REFUSED)
    assert stage.server(B).verdict is Verdict.DOWN


def test_connections_are_calls_registrations_and_what_is_under_way() -> None:
    stage = Stage(service_of(real(A)))
    stage.registered()
    stage.called("one")
    out = stage.server(A)
    assert (out.calls, out.registrations, out.transactions, out.connections) == (1, 1, 0, 2)
