"""Why a server's request finds its client."""

from __future__ import annotations

from tests.director.explaining import SERVER, explained, request, taken_by
from tests.flows.pool import Pool


def test_a_servers_request_finds_the_phone_by_its_contact_or_its_user() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    contact = f"sip:1001@{phone.address[0]}:{phone.address[1]}"
    via = "10.0.0.11:5060;rport;branch=z9hG4bKs"
    said = explained(pool, request("MESSAGE", contact, via=via), SERVER)
    assert (taken_by(said), said.by) == ("binding", "client_binding")
    assert said.steps[-1].why.startswith("the Request-URI is the Contact of 1001")
    said = explained(pool, request("MESSAGE", "sip:1001@10.0.0.1", via=via + "2"), SERVER)
    assert "its user is that of a Contact" in said.steps[-1].why
    assert said.sends[0].changes[0].after.startswith(f"MESSAGE {contact}")
    said = explained(pool, request("MESSAGE", "sip:1009@10.0.0.1", via=via + "3"), SERVER)
    assert (taken_by(said), said.reason) == ("none", "unknown contact")
    said = explained(pool, request("MESSAGE", "sip:x@192.0.2.99", via=via + "4"), SERVER)
    assert (taken_by(said), said.reason) == ("none", "not ours")
