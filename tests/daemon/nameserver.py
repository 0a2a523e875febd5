"""A small DNS server on a real socket: zones are text, what it was asked is kept."""

from __future__ import annotations

import asyncio
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class Nameserver(asyncio.DatagramProtocol):
    """Answers from `records`: (name, kind) -> lines "TTL DATA". A name in `silent` gets no answer at all."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.silent: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self._transport: asyncio.DatagramTransport | None = None

    def put(self, name: str, kind: str, *lines: str) -> None:
        self.records[name, kind] = list(lines)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if name in self.silent or self._transport is None:
            return
        self._transport.sendto(self._answer(query, name, kind).to_wire(), addr)

    def _answer(self, query: dns.message.Message, name: str, kind: str) -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True)
        owner = name
        for _ in range(3):
            alias = self.records.get((owner, "CNAME"))
            if alias is None:
                break
            response.answer.append(_rrset(owner, "CNAME", alias))
            owner = alias[0].split()[1].rstrip(".")
        lines = self.records.get((owner, kind))
        if lines:
            response.answer.append(_rrset(owner, kind, lines))
        elif not any(known == owner for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response

    @property
    def port(self) -> int:
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()


def _rrset(owner: str, kind: str, lines: list[str]) -> dns.rrset.RRset:
    ttl = min(int(line.split()[0]) for line in lines)
    return dns.rrset.from_text_list(f"{owner}.", ttl, "IN", kind, [line.split(None, 1)[1] for line in lines])


async def serve() -> Nameserver:
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_datagram_endpoint(Nameserver, local_addr=("127.0.0.1", 0))
    return protocol
