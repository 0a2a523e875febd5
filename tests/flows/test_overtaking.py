"""A server's request that overtakes the 200 to the REGISTER it stems from (seen with Asterisk's qualify)."""

from __future__ import annotations

import pytest

from sipbalancer.demo.lab import Packet
from tests.flows.pool import Pool


@pytest.mark.parametrize("rewrite_contact", [False, True])
def test_a_pathless_server_may_ask_the_phone_before_we_saw_the_200(rewrite_contact: bool) -> None:
    pool = Pool()
    for server in pool.servers.values():
        server.drop_path, server.rewrite_contact = True, rewrite_contact
        server.outbound_proxy = "<sip:10.0.0.1;lr>"
    phone = pool.phone("1001")
    held: list[Packet] = []

    def keep_back(packet: Packet) -> bool:
        if packet.destination == ("10.0.0.1", 5060) and b"200 OK" in packet.data and b" REGISTER" in packet.data:
            held.append(packet)
            return True
        return False

    pool.lab.lose = keep_back
    pool.lab.send(phone.address, phone.register(pool.lab.now))
    pool.lab.run(0.2)
    assert held
    home = pool.servers["{}:{}".format(*held[0].source)]
    pool.lab.send(home.address, home.ask_phone("OPTIONS", "1001", pool.lab.now))
    pool.lab.run(0.2)
    asked = [
        packet for packet in pool.lab.log if packet.destination == phone.address and b"OPTIONS " in packet.data[:8]
    ]
    assert asked
