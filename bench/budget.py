"""Nanoseconds per stage of the forwarder, measured in this process: `python -m bench.budget` writes bench/budget.tsv.

The load's messages of 2,048 phones pass through a forwarder without sockets; each stage is then called alone on what
the whole had. CPU time of this thread, lowest of all chunks of 256 calls: on a shared machine what is above it is
somebody else's. A stage that begins with
`of` is part of the one above. `rest` is what the whole costs beyond its stages: counters, calls, tuples, garbage.
"""

from __future__ import annotations

import argparse
import gc
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bench.edge import measure
from bench.load import MESSAGES
from bench.rows import python_build
from sipbalancer.config.model import Config
from sipbalancer.config.parser import parse
from sipbalancer.director.from_client import Decision, transaction_key
from sipbalancer.director.pins import PinKind, PinTable
from sipbalancer.director.table import ServiceTable
from sipbalancer.director.to_server import edit
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult
from sipbalancer.sip.aor import read_aor
from sipbalancer.sip.contacts import only_contact
from sipbalancer.sip.edit import names_path, pop_via
from sipbalancer.sip.flow import Datagram, flow_of, pack_address
from sipbalancer.sip.flow_token import FlowToken
from sipbalancer.sip.headers import read_message
from sipbalancer.sip.scan import scan_request, scan_response

HERE = Path(__file__).parent
KEY = bytes(range(32))
PHONES = 2048
CHUNK = 256
NOW = 1_700_000_000.0
FIELD = re.compile(r"\{(\w+)\}")


T = TypeVar("T")


class Stage(NamedTuple):
    message: str
    stage: str
    ns: float


class Bed:
    """A forwarder with three servers that are up, and the phones' and servers' messages for it."""

    def __init__(self) -> None:
        config = _config()
        pins = PinTable(bytearray(PinTable.size_for(config.registrations + config.calls)), KEY[:8], NOW)
        self.table = ServiceTable(config, (KEY,), pins, NOW, 1)
        for health in self.table.healths:
            self.table.probed(health, ProbeOutcome(ProbeResult.OK, "200 OK", 0.001), NOW)
        self.forwarder = self.table.forwarder
        self.now = NOW
        self.serial = 0
        self._templates = {path.stem: path.read_text().replace("\n", "\r\n") for path in MESSAGES.glob("*.sip")}

    def asked(self, name: str) -> list[Datagram]:
        """The next request of every phone."""
        self.serial += 1
        self.now += 1.0
        return [(self._fill(name, self._phone(i)), _flow(i)) for i in range(PHONES)]

    def inside(self, name: str, answers: Iterable[Datagram]) -> list[Datagram]:
        """Every phone's ACK or BYE of the call whose 200 it got."""
        self.serial += 1
        return [(self._fill(name, self._phone(i) | _targets(data)), _flow(i)) for i, (data, _) in enumerate(answers)]

    def answered(self, name: str, requests: Iterable[Datagram]) -> list[Datagram]:
        """What the servers say to forwarded requests."""
        return [(self._fill(name, self._copied(data)), flow) for data, flow in requests]

    def passed(self, datagrams: Iterable[Datagram]) -> list[Datagram]:
        """All through the forwarder; RuntimeError when one does not come out."""
        receive, now = self.forwarder.datagram_received, self.now
        out = [receive(data, flow, now) for data, flow in datagrams]
        if None in out:
            dropped = {service.key: dict(service.dropped) for service in self.table.state.services.values()}
            raise RuntimeError(f"not forwarded: {dropped} {self.table.state.last_error}")
        return [each for each in out if each is not None]

    def settle(self) -> None:
        self.forwarder.due(self.now)

    def _fill(self, name: str, fields: dict[str, str]) -> bytes:
        return FIELD.sub(lambda match: fields[match[1]], self._templates[name]).encode()

    def _phone(self, number: int) -> dict[str, str]:
        return {
            "user": str(1_000_000 + number),
            "host": f"192.168.{number >> 8}.{number & 255}",
            "branch": f"{number:08x}{self.serial:08x}r",
            "call": f"{number:08x}{0:08x}",
            "cseq": str(self.serial),
            "tag": f"{number:010x}",
        }

    @staticmethod
    def _copied(data: bytes) -> dict[str, str]:
        message = read_message(data)
        one = {name: (message.first(name.encode()) or b"").decode() for name in ("from", "to", "contact", "call-id")}
        return {
            **one,
            "call_id": one["call-id"],
            "cseq": (message.first(b"cseq") or b"").decode().split()[0],
            "vias": "".join(f"Via: {value.decode()}\r\n" for value in message.all(b"via")),
            "record_routes": "".join(f"Record-Route: {value.decode()}\r\n" for value in message.all(b"record-route")),
            "branch": "0123456789",
            "server": "127.0.2.1:5070",
        }


def _targets(answer: bytes) -> dict[str, str]:
    """What a request in the dialog takes from the 2xx."""
    message = read_message(answer)
    return {
        "to": (message.first(b"to") or b"").decode(),
        "target": (message.first(b"contact") or b"").decode().strip("<>"),
        "routes": "".join(f"Route: {value.decode()}\r\n" for value in message.all(b"record-route")),
    }


def _config() -> Config:
    return parse((HERE / "sipbalancer.cf").read_text(), "sipbalancer.cf").config


def _flow(number: int) -> tuple[int, bytes, bytes]:
    return flow_of(0, pack_address(f"127.16.{number >> 8}.{number & 255}", 5080))


def lowest(verb: Callable[..., object], calls: list[tuple[Any, ...]], rounds: int) -> float:
    """Nanoseconds of one call, the call itself included."""
    best = float("inf")
    for _ in range(rounds):
        for chunk in chunks(calls):
            began = time.thread_time_ns()
            for arguments in chunk:
                verb(*arguments)
            best = min(best, (time.thread_time_ns() - began) / len(chunk))
    return best


def chunks(calls: Sequence[T]) -> Iterator[Sequence[T]]:
    return (calls[at : at + CHUNK] for at in range(0, len(calls), CHUNK))


def wholes(bed: Bed, asked: str, answered: str, rounds: int) -> tuple[float, float]:
    """Nanoseconds of a request and of its final answer through the whole forwarder, each message new."""
    out = back = float("inf")
    for _ in range(rounds):
        sent, took = _timed(bed, bed.asked(asked))
        out = min(out, took)
        _, took = _timed(bed, bed.answered(answered, sent))
        back = min(back, took)
        bed.settle()
    return out, back


def _timed(bed: Bed, datagrams: Sequence[Datagram]) -> tuple[list[Datagram], float]:
    """What comes out, and the nanoseconds of one in the quickest chunk."""
    out: list[Datagram] = []
    best = float("inf")
    for chunk in chunks(datagrams):
        began = time.thread_time_ns()
        out += bed.passed(chunk)
        best = min(best, (time.thread_time_ns() - began) / len(chunk))
    return out, best


def call_wholes(bed: Bed, rounds: int) -> Iterator[Stage]:
    """The other messages of a call: what comes before the 200 to its INVITE, and what comes after it."""
    best: dict[str, float] = {}

    def passed(name: str, datagrams: Sequence[Datagram]) -> list[Datagram]:
        out, took = _timed(bed, datagrams)
        best[name] = min(best.get(name, took), took)
        return out

    for _ in range(rounds):
        invites = bed.passed(bed.asked("invite"))
        for name in ("100", "180"):
            passed(name, bed.answered(name, invites))
        answers = bed.passed(bed.answered("invite-200", invites))
        passed("ack", bed.inside("ack", answers))
        passed("bye-200", bed.answered("bye-200", passed("bye", bed.inside("bye", answers))))
        bed.settle()
    yield from (Stage(name, "whole", took) for name, took in best.items())


def request_stages(bed: Bed, asked: str, whole: float, rounds: int) -> Iterator[Stage]:
    """Alone: scan, choose, edit, and their dearest parts."""
    state, forwarder = bed.table.state, bed.forwarder
    service = next(iter(state.services.values()))
    requests = bed.asked(asked)
    facts = [scan_request(data) for data, _ in requests]
    flows = [flow for _, flow in requests]
    found = [forwarder.decide(service, fact, flow, bed.now) for fact, flow in zip(facts, flows, strict=True)]
    chosen = [
        (fact, flow, decision, decision.server)
        for fact, flow, decision in zip(facts, flows, found, strict=True)
        if isinstance(decision, Decision) and decision.server is not None
    ]
    aor = [(fact[11], service.hosts) for fact in facts]
    names = [b"%b" % read_aor(*each) for each in aor]
    keys = [(state.binding_key(service, name), bed.now) for name in names]
    edits = [
        (state, service, server, decision.key, decision.cut, fact, flow, flow, fact[4], flow[2])
        for fact, flow, decision, server in chosen
    ]
    lines = [(b"Path", service, server, flow[1]) for _, flow, _, server in chosen]
    scan = lowest(scan_request, [(data,) for data, _ in requests], rounds)
    choose = lowest(forwarder.decide, [(service, *each, bed.now) for each in zip(facts, flows, strict=True)], rounds)
    write = lowest(edit, edits, rounds)
    yield Stage(asked, "whole", whole)
    yield Stage(asked, "scan", scan)
    yield Stage(asked, "choose", choose)
    yield Stage(
        asked,
        "of choose: transaction key",
        lowest(transaction_key, [(state, *each) for each in zip(facts, flows, strict=True)], rounds),
    )
    yield Stage(asked, "of choose: address of record", lowest(read_aor, aor, rounds))
    yield Stage(asked, "of choose: pin key", lowest(state.binding_key, [(service, name) for name in names], rounds))
    yield Stage(asked, "of choose: pin", lowest(state.pins.get, keys, rounds))
    yield Stage(asked, "edit", write)
    yield Stage(asked, "of edit: token line, cached", lowest(state.route_line, lines, rounds))
    if asked == "register":
        path = [(fact[0], fact[3], fact[16]) for fact in facts]
        yield Stage(asked, "of edit: is path named", lowest(names_path, path, rounds))
    yield Stage(asked, "rest: transaction, wheel, counters", whole - scan - choose - write)


def answer_stages(bed: Bed, asked: str, answered: str, whole: float, rounds: int) -> Iterator[Stage]:
    """Alone: scan and pop, and what is learned."""
    answers = bed.answered(answered, bed.passed(bed.asked(asked)))
    texts = [(data,) for data, _ in answers]
    spans = [scan_response(*text)[2:4] for text in texts]
    scan = lowest(scan_response, texts, rounds)
    pop = lowest(pop_via, [(*text, *span) for text, span in zip(texts, spans, strict=True)], rounds)
    bed.passed(answers)
    yield Stage(answered, "whole", whole)
    yield Stage(answered, "scan", scan)
    yield Stage(answered, "pop", pop)
    if answered == "register-200":
        yield from _learn_stages(bed, answered, texts, rounds)
    yield Stage(answered, "the general reader (not in every message)", lowest(read_message, texts, rounds))
    yield Stage(answered, "rest: learn, way back, transaction", whole - scan - pop)


def _learn_stages(bed: Bed, answered: str, texts: list[tuple[bytes]], rounds: int) -> Iterator[Stage]:
    state = bed.table.state
    service = next(iter(state.services.values()))
    server = service.servers[0]
    yield Stage(answered, "of learn: the one Contact", lowest(only_contact, texts, rounds))
    pins = [state.binding_key(service, b"%d@" % (1_000_000 + i)) for i in range(PHONES)]
    put = [(pin, server.serial, PinKind.BINDING, bed.now + 3600) for pin in pins]
    yield Stage(answered, "of learn: pin", lowest(state.pins.put, put, rounds))


def token_stages(bed: Bed, rounds: int) -> Iterator[Stage]:
    sealer = bed.table.state.sealer
    server = pack_address("127.0.2.1", 5070)
    tokens = [(FlowToken(server, _flow(i)[1]),) for i in range(PHONES)]
    yield Stage("token", "seal", lowest(sealer.seal, tokens, rounds))
    yield Stage("token", "open", lowest(sealer.open, [(sealer.seal(*each),) for each in tokens], rounds))
    yield Stage("call of an empty function", "(in each of the above)", lowest(lambda: None, [()] * PHONES, rounds))


def edge_stages() -> Iterator[Stage]:
    """CPU of a datagram in and out, kernel included, with a core that sends it back."""
    yield Stage("edge", "batched, uvloop, 900 bytes", measure("batched", "uvloop", 200_000, 900) * 1000)


def budget(rounds: int, *, edge: bool = True) -> Iterator[Stage]:
    bed = Bed()
    gc.collect()
    gc.freeze()
    for asked, answered in (("register", "register-200"), ("invite", "invite-200")):
        out, back = wholes(bed, asked, answered, rounds)
        yield from request_stages(bed, asked, out, rounds)
        yield from answer_stages(bed, asked, answered, back, rounds)
    yield from call_wholes(bed, max(1, rounds // 4))
    yield from token_stages(bed, rounds)
    if edge:
        yield from edge_stages()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench.budget", description="Nanoseconds per stage of the forwarder.")
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args(arguments)
    lines = [f"# Python {python_build()}, Linux {platform.release()}", "message\tstage\tns"]
    lines += [f"{message}\t{stage}\t{ns:.0f}" for message, stage, ns in budget(asked.rounds)]
    text = "\n".join(lines) + "\n"
    (HERE / "budget.tsv").write_text(text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
