"""What the balancers' logs say of their servers."""

from __future__ import annotations

from bench.faults.balancers import Belief, Kamailio, Ours


def test_our_log() -> None:
    match = Ours.LINE.search('level=warning event="server down" server=10.72.0.11:5060 old=up reason="20 \\"probes\\""')
    assert match is not None
    assert (match["server"], match["verdict"], match["reason"]) == ("10.72.0.11", "down", '"20 \\"probes\\""')
    assert Ours.LINE.search("time=x level=info event=ready services=1") is None


def test_kamailios_log_from_a_ping_and_from_a_call() -> None:
    for line in ("DST-DOWN sip:10.72.0.11:5060 <null>", "DST-DOWN sip:600@10.71.0.1 sip:10.72.0.11:5060"):
        match = Kamailio.LINE.search(f" 5(30688) ALERT: <script>: {line}")
        assert match is not None
        assert Belief(0.0, match["server"], match["verdict"].lower(), "") == Belief(0.0, "10.72.0.11", "down", "")
