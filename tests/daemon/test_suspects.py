from __future__ import annotations

from sipbalancer.config.model import Config, RealServerConfig, VirtualServiceConfig
from sipbalancer.daemon.suspects import SuspectingCore
from sipbalancer.director.pins import PinTable
from sipbalancer.director.table import ServiceTable
from sipbalancer.sip.flow import flow_of, pack_address

NOW = 1_700_000_000.0
KEY = b"k" * 32


def table() -> ServiceTable:
    virtual = VirtualServiceConfig(host="192.0.2.10", real=(RealServerConfig(host="192.0.2.1"),))
    pins = PinTable(bytearray(PinTable.size_for(100)), KEY[:8], NOW)
    return ServiceTable(Config(virtual=(virtual,)), (KEY,), pins, NOW, 0)


def test_the_daemon_looks_after_each_refusal_and_each_due() -> None:
    held = table()
    found: list[str] = []
    core = SuspectingCore(held.forwarder, lambda: found.extend(health.key for health in held.suspects()))
    core.due(NOW)
    assert found == []
    core.refused(flow_of(0, pack_address("192.0.2.1", 5060)), NOW)
    assert found == ["192.0.2.1:5060"]
    held.state.suspects[held.healths[0]] = None
    core.due(NOW + 0.05)
    assert found == ["192.0.2.1:5060"] * 2


def test_the_hot_verb_and_the_outbox_are_the_forwarders_own() -> None:
    held = table()
    core = SuspectingCore(held.forwarder, lambda: None)
    assert core.datagram_received == held.forwarder.datagram_received
    assert core.outbox is held.forwarder.outbox
    core.outbox.append((b"data", flow_of(0, pack_address("192.0.2.1", 5060))))
    assert [data for data, _ in core.due(NOW)] == [b"data"]
    assert core.outbox == []
