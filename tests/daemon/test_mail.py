from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipbalancer.daemon import mail as module
from sipbalancer.daemon.mail import Letter, _place, can_send, post
from tests.daemon.smtp_server import SmtpServer

HOST = f"127.{208 + os.getpid() % 8}.{os.getpid() // 8 % 256}.1"


@pytest.fixture
def server() -> Iterator[SmtpServer]:
    made = SmtpServer(HOST)
    yield made
    made.close()


def letter(smtp: str, **words: str) -> Letter:
    return Letter("a@x.example, b@x.example", "", "server down", "text\n.dot\n", smtp)._replace(**words)


def test_a_mail_arrives_at_everybody(server: SmtpServer) -> None:
    assert asyncio.run(post(letter(server.place))) == ""
    (mail,) = server.mails
    assert mail.recipients == ("a@x.example", "b@x.example")
    own = f"{getpass.getuser()}@{socket.gethostname()}"
    assert (mail.sender, mail.message["From"], mail.message["To"]) == (own, own, "a@x.example, b@x.example")
    assert mail.message["Subject"] == "server down"
    assert mail.message.get_content().splitlines() == ["text", ".dot"]
    assert mail.message["Date"] and mail.message["Message-ID"]
    assert mail.message["Auto-Submitted"] == "auto-generated", "no holiday notice answers it"


def test_the_from_header_is_the_file_s_own_and_so_is_the_envelope(server: SmtpServer) -> None:
    sender = '"sipbalancer Alerts" <alerts@x.example>'
    assert asyncio.run(post(letter(server.place, sender=sender, subject="[Büro] s1"))) == ""
    (mail,) = server.mails
    assert (mail.sender, mail.message["Subject"]) == ("alerts@x.example", "[Büro] s1")
    assert "sipbalancer Alerts" in mail.message["From"]


def test_a_long_subject_stays_as_it_is(server: SmtpServer) -> None:
    subject = "real server down: " + ", ".join(f"192.0.2.{number}:5060" for number in range(12))
    for text in (subject, f"[Büro] {subject}"):
        assert asyncio.run(post(letter(server.place, subject=text))) == ""
        assert server.mails[-1].message["Subject"] == text


def test_a_recipient_that_is_refused_does_not_cost_the_others_theirs() -> None:
    server = SmtpServer(HOST, refuse="b@x.example")
    assert asyncio.run(post(letter(server.place))) == f"{server.place}: refused for b@x.example"
    assert [mail.recipients for mail in server.mails] == [("a@x.example",)]
    server.close()


def test_a_silent_mail_server_costs_its_time_limit_and_nothing_else() -> None:
    server = SmtpServer(HOST, silent=True)
    problem = asyncio.run(post(letter(server.place), 0.2))
    assert problem.startswith(server.place) and ("took longer than 0.2 s" in problem or "timed out" in problem)
    server.close()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({}, "refused"),
        ({"to": ","}, "emailalert names no address"),
        ({"subject": "a\nb"}, "a header cannot be written"),
    ],
)
def test_why_it_was_not_sent(words: dict[str, str], why: str) -> None:
    assert why in asyncio.run(post(letter(f"{HOST}:1", **words)))


@pytest.mark.parametrize(
    ("smtp", "place"),
    [
        ("mx.example", ("mx.example", 25)),
        ("mx.example:587", ("mx.example", 587)),
        ("2001:db8::1", ("2001:db8::1", 25)),
        ("[2001:db8::1]:26", ("2001:db8::1", 26)),
    ],
)
def test_where_the_mail_server_is(smtp: str, place: tuple[str, int]) -> None:
    assert _place(smtp) == place


def test_without_smtp_the_host_s_sendmail_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "sendmail"
    monkeypatch.setattr(module, "SENDMAIL", str(program))
    assert not can_send("")
    assert asyncio.run(post(letter(""))).endswith("no smtp = host is written, and there is no " + str(program))
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\ncat >> {tmp_path}/said\n')
    program.chmod(0o755)
    assert can_send("")
    assert asyncio.run(post(letter(""))) == ""
    said = (tmp_path / "said").read_text()
    assert said.startswith("-t -oi\n") and "Subject: server down" in said and "To: a@x.example, b@x.example" in said
    program.write_text("#!/bin/sh\ncat > /dev/null\nexit 75\n")
    assert asyncio.run(post(letter(""))) == f"{program} exited 75"
