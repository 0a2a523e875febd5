"""The load's templates are SIP that our own scanner takes the quick way, as long as those of real phones."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipbalancer.sip.headers import read_message
from sipbalancer.sip.scan import Request, scan_request, scan_response

MESSAGES = Path(__file__).parent.parent.parent / "bench" / "messages"
VIA = (
    "Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK{0}\r\nVia: SIP/2.0/UDP 192.168.1.9:5060;branch=z9hG4bK{1};rport\r\n"
)
FIELDS = {
    "user": "1000009",
    "host": "192.168.1.9",
    "branch": "0000000900000001r",
    "call": "0000000900000000",
    "cseq": "20",
    "tag": "0900000001",
    "to": "<sip:600@pbx.example.com>",
    "target": "sip:127.0.2.1:5070",
    "routes": "Route: <sip:token@127.0.0.1:5060;lr>\r\n",
    "vias": VIA.format("a" * 16, "0000000900000001r"),
    "record_routes": "Record-Route: <sip:token@127.0.0.1:5060;lr>\r\n",
    "from": "<sip:1000009@pbx.example.com>;tag=0900000001",
    "call_id": "0000000900000000@192.168.1.9",
    "contact": "<sip:1000009@192.168.1.9:5060>",
    "server": "127.0.2.1:5070",
}
REQUESTS = ("register", "invite", "ack", "bye")
ANSWERS = {"register-200": 200, "100": 100, "180": 180, "invite-200": 200, "bye-200": 200, "options-200": 200}


def filled(name: str) -> bytes:
    text = (MESSAGES / f"{name}.sip").read_text().replace("\n", "\r\n")
    for field, value in FIELDS.items():
        text = text.replace("{" + field + "}", value)
    return text.encode()


@pytest.mark.parametrize("name", REQUESTS)
def test_request_is_read_with_every_fact(name: str) -> None:
    facts = Request(*scan_request(filled(name)))
    assert facts.method == name.upper().encode()
    assert (facts.hops, facts.rport > 0, facts.branch) == (70, True, b"z9hG4bK0000000900000001r")
    assert len(facts.routes) == (name in ("ack", "bye"))


@pytest.mark.parametrize(("name", "status"), ANSWERS.items())
def test_answer_has_two_vias_and_its_status(name: str, status: int) -> None:
    said, sent_by, *_, next_start, next_end = scan_response(filled(name))
    assert (said, sent_by) == (status, b"127.0.0.1:5060")
    assert next_end > next_start > 0


@pytest.mark.parametrize("name", [*REQUESTS, *ANSWERS])
def test_content_length_is_that_of_the_body_and_no_field_is_left(name: str) -> None:
    data = filled(name)
    body = data.partition(b"\r\n\r\n")[2]
    assert read_message(data).first(b"content-length") == str(len(body)).encode()
    assert b"{" not in data


@pytest.mark.parametrize(("name", "least"), {"register": 900, "invite": 1300, "invite-200": 900, "bye": 700}.items())
def test_lengths_are_those_of_real_phones(name: str, least: int) -> None:
    assert least <= len(filled(name)) <= 1500
