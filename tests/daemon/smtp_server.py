"""A small SMTP server (RFC 5321) that keeps what it was sent. Runs in a thread of its own, on a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import NamedTuple


class Mail(NamedTuple):
    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage


class SmtpServer:
    """`refuse` is answered to every RCPT for that address; `silent`: it takes connections and says nothing."""

    def __init__(self, host: str, refuse: str = "", silent: bool = False) -> None:
        self.mails: list[Mail] = []
        self.host = host
        self.port = 0
        self._refuse = refuse
        self._silent = silent
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(10)

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._session, self.host, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._silent:
                await reader.read()
            else:
                await self._talk(reader, writer)
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender, recipients = "", list[str]()
        writer.write(b"220 test ESMTP\r\n")
        while line := (await reader.readline()).decode().strip():
            verb = line[:4].upper()
            answer = "250 OK"
            if verb == "MAIL":
                sender, recipients = _address(line), []
            elif verb == "RCPT":
                if _address(line) == self._refuse:
                    answer = "550 no such user"
                else:
                    recipients.append(_address(line))
            elif verb == "DATA":
                writer.write(b"354 go on\r\n")
                self.mails.append(Mail(sender, tuple(recipients), await _data(reader)))
            elif verb == "QUIT":
                answer = "221 bye"
            writer.write(f"{answer}\r\n".encode())
            if verb == "QUIT":
                return


async def _data(reader: asyncio.StreamReader) -> EmailMessage:
    text = b""
    while (line := await reader.readline()) not in (b".\r\n", b""):
        text += line.removeprefix(b".")
    message = message_from_bytes(text, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def _address(line: str) -> str:
    return line.partition("<")[2].partition(">")[0]
