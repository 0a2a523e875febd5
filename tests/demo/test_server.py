"""The embedded server alone: what an Asterisk would answer."""

from __future__ import annotations

from random import Random

import pytest

from sipbalancer.demo import digest
from sipbalancer.demo.message import Message, parse
from sipbalancer.demo.registrar import Contacts
from sipbalancer.demo.server import EmbeddedServer

HERE = ("192.0.2.1", 5060)
THERE = ("198.51.100.1", 5060)
NOW = 1000.0


def make_server(contacts: Contacts | None = None, seed: int = 0) -> EmbeddedServer:
    return EmbeddedServer(HERE, {"1001": "one", "1002": "two"}, "demo", Random(seed), name="a", contacts=contacts)


def request(method: str, uri: str, *headers: tuple[str, str], user: str = "", seq: int = 1) -> Message:
    sender = f"<sip:{user}@192.0.2.1>;tag=f" if user else "<sip:192.0.2.50>;tag=f"
    message = Message(f"{method} {uri} SIP/2.0", [("Via", f"SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK{method}{seq}")])
    to = f"<sip:{user}@192.0.2.1>" if method == "REGISTER" else f"<{uri}>"
    message.headers += [("From", sender), ("To", to), ("Call-ID", "c"), ("CSeq", f"{seq} {method}"), *headers]
    return message


def ask(server: EmbeddedServer, message: Message, now: float = NOW) -> Message:
    sent = server.receive_datagram(message.encode(), THERE, now)
    assert len(sent) == 1
    answer = parse(sent[0][0])
    assert answer is not None
    return answer


def register(
    server: EmbeddedServer, contact: str, *headers: tuple[str, str], seq: int = 1, now: float = NOW
) -> Message:
    """Register 1001 through the challenge; the last answer."""
    first = request("REGISTER", "sip:192.0.2.1", ("Contact", contact), *headers, user="1001", seq=seq)
    asked = digest.parse(ask(server, first, now).get("WWW-Authenticate"))
    value = digest.credentials(asked, "1001", "one", "REGISTER", "sip:192.0.2.1", 1, "c")
    again = request(
        "REGISTER", "sip:192.0.2.1", ("Contact", contact), ("Authorization", value), *headers, user="1001", seq=seq + 1
    )
    return ask(server, again, now)


@pytest.mark.parametrize(
    "uri, status",
    [("sip:192.0.2.1", 200), ("sip:600@192.0.2.1", 200), ("sip:1001@192.0.2.1", 200), ("sip:x@192.0.2.1", 404)],
)
def test_options(uri: str, status: int) -> None:
    assert ask(make_server(), request("OPTIONS", uri)).status == status


def test_options_of_a_known_phone_are_challenged() -> None:
    assert ask(make_server(), request("OPTIONS", "sip:192.0.2.1", user="1001")).status == 401


def test_another_servers_nonce_is_stale() -> None:
    server, other = make_server(seed=1), make_server(seed=2)
    asked = digest.parse(ask(other, request("REGISTER", "sip:x", user="1001")).get("WWW-Authenticate"))
    value = digest.credentials(asked, "1001", "one", "REGISTER", "sip:x", 1, "c")
    answer = ask(server, request("REGISTER", "sip:x", ("Authorization", value), user="1001", seq=2))
    assert answer.status == 401
    assert digest.parse(answer.get("WWW-Authenticate"))["stale"] == "true"


def test_one_may_not_register_another() -> None:
    server = make_server()
    asked = digest.parse(ask(server, request("REGISTER", "sip:x", user="1002")).get("WWW-Authenticate"))
    value = digest.credentials(asked, "1001", "one", "REGISTER", "sip:x", 1, "c")
    assert ask(server, request("REGISTER", "sip:x", ("Authorization", value), user="1002", seq=2)).status == 403


def test_two_devices_are_listed_and_one_leaves() -> None:
    server = make_server()
    register(server, "<sip:1001@10.0.0.1>")
    answer = register(server, "<sip:1001@10.0.0.2>", ("Expires", "60"), seq=3)
    assert answer.all("Contact") == ["<sip:1001@10.0.0.1>;expires=3600", "<sip:1001@10.0.0.2>;expires=60"]
    answer = register(server, "<sip:1001@10.0.0.1>", ("Expires", "0"), seq=5)
    assert answer.all("Contact") == ["<sip:1001@10.0.0.2>;expires=60"]


def test_a_star_takes_everything_back() -> None:
    server = make_server()
    register(server, "<sip:1001@10.0.0.1>")
    assert register(server, "*", ("Expires", "0"), seq=3).all("Contact") == []


def test_bindings_end_with_their_time() -> None:
    server = make_server()
    register(server, "<sip:1001@10.0.0.1>;expires=30")
    assert len(server.contacts.of("1001", NOW + 29)) == 1
    assert server.contacts.of("1001", NOW + 30) == []


def test_the_path_comes_back_in_the_answer() -> None:
    path = "<sip:token@192.0.2.9;lr>"
    answer = register(make_server(), "<sip:1001@10.0.0.1>", ("Path", path), ("Supported", "path"))
    assert answer.all("Path") == [path]


def test_shared_contacts_are_called_by_the_other_server() -> None:
    shared = Contacts()
    register(make_server(shared, 1), "<sip:1001@10.0.0.1>", ("Path", "<sip:t@192.0.2.9;lr>"), ("Supported", "path"))
    sent = make_server(shared, 2).call_phone("1001", NOW)
    assert sent[0][1] == ("192.0.2.9", 5060)
    assert shared.registered_at("a", NOW) == 1


def test_nobody_to_call() -> None:
    assert make_server().call_phone("1001", NOW) == []


def test_unknown_methods_are_refused() -> None:
    answer = ask(make_server(), request("PING", "sip:192.0.2.1"))
    assert answer.status == 405
    assert "INVITE" in answer.get("Allow")


def test_a_retransmission_is_answered_again_and_not_counted_twice() -> None:
    server = make_server()
    message = request("OPTIONS", "sip:192.0.2.1")
    assert ask(server, message).encode() == ask(server, message).encode()
    assert server.heard["OPTIONS"] == 1
