"""`explain` as plain JSON values, of the running table or of one made from a file alone.

The names are an interface (`--json`). A datagram travels as base64: it is bytes, and JSON has none.
"""

from __future__ import annotations

import asyncio
import binascii
from base64 import b64decode
from pathlib import Path

from sipbalancer.config.model import Config
from sipbalancer.daemon.keys import new_key, read_keys
from sipbalancer.daemon.names import Names
from sipbalancer.daemon.resolver import Resolver
from sipbalancer.daemon.status import Document
from sipbalancer.daemon.web import split_address
from sipbalancer.director.explain import LARGEST, Explanation, Sent, explain, service_for
from sipbalancer.director.pins import PinTable
from sipbalancer.director.reading import text
from sipbalancer.director.table import ServiceTable
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult, Verdict
from sipbalancer.errors import AdminError
from sipbalancer.sip.flow import pack_address

_ENTRIES = 64
ASSUMED_UP = "no balancer was asked: this is the file alone, all servers taken for up, nothing pinned or registered"


def read_datagram(encoded: str) -> bytes:
    """The bytes; AdminError when it is no base64 or larger than a datagram can be."""
    try:
        data = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise AdminError("datagram: not base64") from None
    if len(data) > LARGEST:
        raise AdminError(f"datagram: {len(data)} bytes; a datagram has {LARGEST} at most")
    return data


def read_source(source: str) -> bytes | None:
    """`HOST:PORT` as a packed address, None for ""; AdminError when it is no address with a port."""
    if not source:
        return None
    try:
        host, port = split_address(source)
        return pack_address(host, port)
    except ValueError:
        raise AdminError(f"from: {source}: write an address and a port, such as 198.51.100.7:5060") from None


def explain_document(table: ServiceTable, data: bytes, source: str, virtual: str, now: float) -> Document:
    """AdminError for a source or service that cannot be; whatever the datagram is, it is explained."""
    leg, virtual_by = service_for(table.state, virtual, data)
    explanation = explain(table.state, leg, data, read_source(source), now)
    return {**_document(explanation), "virtual_by": virtual_by, "notes": []}


def _document(explanation: Explanation) -> Document:
    return {
        **explanation._asdict(),
        "facts": [{"name": name, "value": value} for name, value in explanation.facts],
        "steps": [step._asdict() for step in explanation.steps],
        "sends": [_sent(each) for each in explanation.sends],
        "learns": list(explanation.learns),
    }


def _sent(sent: Sent) -> Document:
    return {**sent._asdict(), "changes": [each._asdict() for each in sent.changes], "data": text(sent.data)}


# The file alone.


def explain_file(config: Config, data: bytes, source: str, virtual: str, now: float) -> Document:
    """As a balancer just started on this file would, all servers up. EnvironmentFault: a virtual's name is unknown."""
    keys, note = _keys(config)
    literal = asyncio.run(Names(Resolver(), lambda _: None).resolve(config))
    pins = PinTable(bytearray(PinTable.size_for(_ENTRIES)), keys[0][:8], now)
    table = ServiceTable(literal.model_copy(update={"registrations": _ENTRIES, "calls": _ENTRIES}), keys, pins, now, 0)
    for health in table.healths:
        if health.verdict is Verdict.STARTING:
            table.probed(health, ProbeOutcome(ProbeResult.OK, "taken for up"), now)
    document = explain_document(table, data, source, virtual, now)
    return {**document, "notes": [ASSUMED_UP, *note]}


def _keys(config: Config) -> tuple[tuple[bytes, ...], list[str]]:
    """The balancer's own keys where this user may read them; nothing is made."""
    path = Path(config.secret) if config.secret else Path(config.state) / "secret"
    try:
        return read_keys(path), []
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return (new_key(),), [f"{path}: {reason}: tokens of the running balancer cannot be opened here"]
