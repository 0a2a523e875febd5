"""What a datagram would teach."""

from __future__ import annotations

from sipbalancer.director.explain import explain
from tests.director.explaining import PHONE, SERVER, explained, really, request
from tests.flows.pool import Pool


def test_a_response_says_what_it_teaches() -> None:
    pool = Pool()
    asked = request("REGISTER", "sip:10.0.0.1", "Contact: <sip:1001@10.1.0.9>", to="<sip:1001@10.0.0.1>")
    out = really(pool, asked, PHONE).sends[0][0]
    vias = b"\r\n".join(line for line in out.split(b"\r\n") if line.startswith(b"Via"))
    rest = (
        b"\r\nFrom: <sip:1001@10.0.0.1>;tag=a\r\nTo: <sip:1001@10.0.0.1>;tag=s\r\nCall-ID: c1\r\nCSeq: 1 REGISTER\r\n"
        b"Contact: <sip:1001@10.1.0.9>;expires=600\r\nContent-Length: 0\r\n\r\n"
    )
    answer = b"SIP/2.0 200 OK\r\n" + vias + rest
    guessed = explain(pool.balancer.table.state, 0, answer, None, pool.lab.now)
    assert (guessed.source, guessed.source_by) == ("10.0.0.11:5060", "the server its branch was made for")
    said = explained(pool, answer, SERVER)
    assert said.outcome == "goes to client 10.1.0.9:5060"
    assert "binding pin to 10.0.0.11:5060 for 600 s" in said.learns
    assert "Contact sip:1001@10.1.0.9 is at 10.1.0.9:5060 for 600 s" in said.learns
    stranger = explained(pool, answer.replace(b"10.0.0.1:5060", b"10.0.0.9:5060"), SERVER)
    assert stranger.reason == "foreign via" and not stranger.steps[0].chose
