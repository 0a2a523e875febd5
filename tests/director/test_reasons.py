"""Every rule has its words."""

from __future__ import annotations

import re
from pathlib import Path

from sipbalancer.director.reasons import ANSWERED, REASONS, RULES
from tests.director.explaining import PHONE, explained, request
from tests.flows.pool import Pool


def test_a_malformed_datagram_says_which_rule() -> None:
    said = explained(Pool(), request().replace(b"CSeq: 1 INVITE", b"CSeq: x"), PHONE)
    assert [(step.link, step.why[:5]) for step in said.steps] == [("malformed", "cseq:")]
    assert said.reason == "malformed: cseq" and "8.1.1.5" in said.outcome
    assert explained(Pool(), b"", PHONE).outcome.startswith("nothing is sent: a keep-alive")
    assert explained(Pool(), b"\r\n\r\n", PHONE).steps == ()


def test_every_reason_that_the_code_gives_has_words() -> None:
    package = Path(__file__).parents[2] / "sipbalancer"
    code = "".join(
        path.read_text(encoding="utf-8") for part in ("sip", "director") for path in (package / part).glob("*.py")
    )
    assert set(re.findall(r'MalformedMessage\("([^"]+)"\)', code)) - RULES.keys() == set()
    given = set(re.findall(r'dropped\["([^"]+)"\]', code)) | set(re.findall(r'reason="([^"]+)"', code))
    assert given - REASONS.keys() - {"internal error", "unanswered"} == set()
    assert REASONS.keys() >= ANSWERED
