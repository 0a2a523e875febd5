"""What must be so after every ladder, read from the lab's whole log; each check says what it holds."""

from __future__ import annotations

from collections import defaultdict

from sipbalancer.demo.lab import Packet
from sipbalancer.demo.message import Address, Message, parameter, parse
from tests.flows.balancer import PROBER, VIP
from tests.flows.pool import SERVERS, Pool

Key = tuple[str, ...]


def check(pool: Pool) -> None:
    """All of them."""
    assert pool.balancer.table.state.last_error == ""
    _no_stranger_hears(pool)
    _choice_is_stable(pool)
    _no_answer_of_a_given_up_try(pool)


def _no_stranger_hears(pool: Pool) -> None:
    """Invariant 6: no datagram to an address that is neither a server's nor a phone's."""
    strangers = {packet.destination for packet in pool.lab.log if packet.source == VIP} - pool.known - {PROBER}
    assert not strangers, strangers


def _choice_is_stable(pool: Pool) -> None:
    """Invariant 3: a client's transaction keeps server and branch, but where it moved; it never goes back."""
    ways: dict[Key, list[tuple[Address, str]]] = defaultdict(list)
    for packet, message in _from_us(pool, to_servers=True):
        vias = message.all("Via")
        if not message.status and len(vias) > 1:
            way = (packet.destination, message.branch)
            held = ways[_client_key(message)]
            if way not in held:
                held.append(way)
            assert way == held[-1], f"went back to {way}: {message.method} {message.call_id}"
    moves = sum(len(way) - 1 for way in ways.values())
    assert moves <= pool.balancer.counts("chosen").get("failover", 0) + pool.restarts * len(ways), ways
    for held in ways.values():
        assert len({branch for _, branch in held}) == len(held)


def _no_answer_of_a_given_up_try(pool: Pool) -> None:
    """Design 5.3: once a request has moved, a phone hears nothing of the server it left (told by the To tag)."""
    current: dict[Key, Address] = {}
    speakers: dict[tuple[str, str], Address] = {}
    for packet in pool.lab.log:
        message = parse(packet.data)
        if message is None or VIP not in (packet.source, packet.destination):
            continue
        tag = (message.call_id, parameter(message.get("To"), "tag"))
        if message.status and packet.source in SERVERS:
            speakers[tag] = packet.source
        elif (
            not message.status
            and packet.source == VIP
            and packet.destination in SERVERS
            and len(message.all("Via")) > 1
        ):
            current[_client_key(message)] = packet.destination
        elif message.status and packet.source == VIP and tag[1] and packet.destination not in SERVERS:
            asked = current.get(_client_key(message, at=0))
            speaker = speakers.get(tag)
            assert asked is None or speaker is None or asked == speaker, f"{message.status} of {speaker}, now {asked}"


def _from_us(pool: Pool, *, to_servers: bool) -> list[tuple[Packet, Message]]:
    found = []
    for packet in pool.lab.log:
        if packet.source == VIP and (packet.destination in SERVERS) is to_servers:
            message = parse(packet.data)
            if message is not None:
                found.append((packet, message))
    return found


def _client_key(message: Message, at: int = 1) -> Key:
    """The client's transaction: its own Via (second on its way to a server), Call-ID and CSeq number."""
    via = message.all("Via")[at]
    return parameter(via, "branch"), message.call_id, str(message.cseq)


def at_most_one_call_each(pool: Pool) -> None:
    """When all has settled: no call lives on two servers, none on a living server whose phone has none."""
    living: dict[str, list[str]] = defaultdict(list)
    for name, server in pool.servers.items():
        if pool.lab.nodes.get(server.address) is server and not server.hanging:
            for call in server.live_calls():
                living[call.call_id].append(name)
    at_phones = {call.call_id for phone in pool.phones for call in phone.live_calls}
    assert not {call_id: names for call_id, names in living.items() if len(names) > 1}
    assert not set(living) - at_phones, "a server holds a call that no phone has"
    assert [phone.doubles for phone in pool.phones] == [0] * len(pool.phones)
