"""One mail: written as ldirectord writes it, handed to `smtp` or to the host's sendmail, within a time limit."""

from __future__ import annotations

import getpass
import os
import smtplib
import socket
from email import policy
from email.message import EmailMessage
from email.utils import formatdate, getaddresses, make_msgid
from typing import NamedTuple

from sipbalancer.daemon.aside import aside
from sipbalancer.daemon.probe_command import run

SENDMAIL = "/usr/sbin/sendmail"
LIMIT = 20.0
"""Seconds for one mail as a whole."""
SMTP_PORT = 25
LONGEST_LINE = 900
"""RFC 5322 section 2.1.1 allows 998 characters."""


class Letter(NamedTuple):
    """What is to be sent; `to` and `sender` as the file says them."""

    to: str
    sender: str
    subject: str
    text: str
    smtp: str
    """`host`, `host:port`, `[address]:port`; empty: the host's sendmail."""


def can_send(smtp: str) -> bool:
    """Whether there is a way to send at all."""
    return bool(smtp) or os.access(SENDMAIL, os.X_OK)


async def post(letter: Letter, limit: float = LIMIT) -> str:
    """Send; why it was not sent, or "". Never raises."""
    try:
        message, sender, recipients = _message(letter)
        if not letter.smtp:
            return await _hand_to_sendmail(message, limit)
        host, port = _place(letter.smtp)
        await aside(limit, lambda: _speak(host, port, message, sender, recipients, limit))
    except TimeoutError:
        return f"{letter.smtp or SENDMAIL} took longer than {limit:g} s"
    except (OSError, smtplib.SMTPException, ValueError) as error:
        return f"{letter.smtp or SENDMAIL}: {error}"
    return ""


def _message(letter: Letter) -> tuple[EmailMessage, str, list[str]]:
    """The message, its envelope sender and recipients. ValueError when the file's addresses are none."""
    own = f"{getpass.getuser()}@{socket.gethostname()}"
    recipients = [address for _, address in getaddresses([letter.to]) if address]
    if not recipients:
        raise ValueError(f"emailalert names no address: {letter.to}")
    (_, sender), *_ = getaddresses([letter.sender or own])
    # Folding puts a blank before a long subject; where no encoded words need it (RFC 2047: 75 characters), do without.
    plain = letter.subject.isascii()
    message = EmailMessage(policy.default.clone(max_line_length=LONGEST_LINE if plain else 78))
    try:
        message["From"] = letter.sender or own
        message["To"] = ", ".join(recipients)
        message["Subject"] = letter.subject
    except Exception as error:  # the header parser of the standard library fails on odd input in many ways
        raise ValueError(f"a header cannot be written: {error!r}") from error
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain=socket.gethostname())
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    return message, sender or own, recipients


def _place(smtp: str) -> tuple[str, int]:
    host, colon, port = smtp.rpartition(":")
    if colon and port.isdigit() and (":" not in host or host.startswith("[")):
        return host.strip("[]"), int(port)
    return smtp.strip("[]"), SMTP_PORT


def _speak(host: str, port: int, message: EmailMessage, sender: str, recipients: list[str], limit: float) -> None:
    with smtplib.SMTP(host, port, local_hostname=socket.gethostname(), timeout=limit) as server:
        refused = server.send_message(message, sender, recipients)
    if refused:
        raise ValueError(f"refused for {', '.join(refused)}")


async def _hand_to_sendmail(message: EmailMessage, limit: float) -> str:
    if not can_send(""):
        return f"no smtp = host is written, and there is no {SENDMAIL}"
    status = await run((SENDMAIL, "-t", "-oi"), limit, bytes(message))
    return f"{SENDMAIL} exited {status}" if status else ""
