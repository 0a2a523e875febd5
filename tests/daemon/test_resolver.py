"""Against a real DNS server on loopback, on asyncio's loop and on uvloop's."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sipbalancer.config.model import RealServerConfig
from sipbalancer.daemon.resolver import Hosts, Place, Resolution, Resolver, is_literal, placed, read_hosts
from sipbalancer.errors import Unresolved
from tests.daemon import nameserver
from tests.daemon.loops import LOOPS, runner
from tests.daemon.nameserver import Nameserver

Scenario = Callable[[Nameserver, Resolver], Awaitable[None]]
NOWHERE = Path("/no/such/hosts")


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    def runs(scenario: Scenario, hosts: Path = NOWHERE) -> None:
        async def coroutine() -> None:
            server = await nameserver.serve()
            await scenario(server, Resolver(("127.0.0.1",), server.port, hosts, lifetime=0.5))
            server.close()

        with runner(LOOPS[request.param]) as running:
            running.run(coroutine())

    return runs


def keys(resolution: Resolution) -> list[str]:
    return [server.key for server in resolution.servers]


def real(host: str, **words: object) -> RealServerConfig:
    return RealServerConfig(host=host, **words)  # type: ignore[arg-type]


Run = Callable[..., None]


def test_every_address_of_a_name_is_a_server_in_a_stable_order(run: Run) -> None:
    async def scenario(server: Nameserver, resolver: Resolver) -> None:
        asked = real("pbx.example.com", port=5070, weight=3)
        server.put("pbx.example.com", "A", "300 192.0.2.10", "300 192.0.2.2")
        first = await resolver.resolve(asked)
        server.put("pbx.example.com", "A", "300 192.0.2.2", "300 192.0.2.10")
        assert await resolver.resolve(asked) == first
        assert keys(first) == ["192.0.2.2:5070", "192.0.2.10:5070"]
        assert first.ttl == 300
        assert {(each.name, each.weight) for each in first.servers} == {("pbx.example.com", 3)}

    run(scenario)


def test_family_decides_what_is_asked(run: Run) -> None:
    async def scenario(server: Nameserver, resolver: Resolver) -> None:
        server.put("pbx.example.com", "A", "300 192.0.2.1")
        server.put("pbx.example.com", "AAAA", "300 2001:db8::1")
        assert keys(await resolver.resolve(real("pbx.example.com"))) == ["192.0.2.1:5060"]
        assert keys(await resolver.resolve(real("pbx.example.com", family=6))) == ["[2001:db8::1]:5060"]
        assert server.asked == [("pbx.example.com", "A"), ("pbx.example.com", "AAAA")]

    run(scenario)


def test_srv_gives_ports_weights_and_priorities(run: Run) -> None:
    async def scenario(server: Nameserver, resolver: Resolver) -> None:
        name = "_sip._udp.example.com"
        server.put(
            name, "SRV", "60 20 5 5060 c.example.com.", "60 10 70 5060 a.example.com.", "60 10 0 5062 b.example.com."
        )
        for host, address in (("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.3")):
            server.put(f"{host}.example.com", "A", f"300 {address}")
        found = await resolver.resolve(real(name, port=0))
        assert [(each.key, each.name, each.priority, each.weight) for each in found.servers] == [
            ("192.0.2.1:5060", "a.example.com", 10, 70),
            ("192.0.2.2:5062", "b.example.com", 10, 1),
            ("192.0.2.3:5060", "c.example.com", 20, 5),
        ]
        assert found.ttl == 60

    run(scenario)


def test_a_target_that_fails_is_left_out_or_keeps_its_last_address(run: Run) -> None:
    async def scenario(server: Nameserver, resolver: Resolver) -> None:
        name = "_sip._udp.example.com"
        server.put(name, "SRV", "60 10 1 5060 a.example.com.", "60 10 1 5060 b.example.com.")
        server.put("a.example.com", "A", "300 192.0.2.1")
        found = await resolver.resolve(real(name))
        assert keys(found) == ["192.0.2.1:5060"]
        assert found.ttl == 5  # the missing one is asked for again soon
        server.put("b.example.com", "A", "300 192.0.2.2")
        assert keys(await resolver.resolve(real(name))) == ["192.0.2.1:5060", "192.0.2.2:5060"]
        server.silent.add("a.example.com")
        assert keys(await resolver.resolve(real(name))) == ["192.0.2.1:5060", "192.0.2.2:5060"]

    run(scenario)


@pytest.mark.parametrize(("ttl", "kept"), [(0, 5), (5, 5), (77, 77), (86400, 3600)])
def test_ttl_is_bounded(run: Run, ttl: int, kept: float) -> None:
    async def scenario(server: Nameserver, resolver: Resolver) -> None:
        server.put("pbx.example.com", "A", f"{ttl} 192.0.2.1")
        assert (await resolver.resolve(real("pbx.example.com"))).ttl == kept

    run(scenario)


def test_the_shortest_ttl_of_a_chain_counts(run: Run) -> None:
    async def scenario(server: Nameserver, resolver: Resolver) -> None:
        server.put("pbx.example.com", "CNAME", "20 a.example.com.")
        server.put("a.example.com", "A", "300 192.0.2.1")
        server.put("_sip._udp.example.com", "SRV", "600 10 1 5060 pbx.example.com.")
        assert (await resolver.resolve(real("pbx.example.com"))).ttl == 20
        assert (await resolver.resolve(real("_sip._udp.example.com"))).ttl == 20

    run(scenario)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("absent.example.com", "absent.example.com (A): The DNS query name does not exist"),
        ("v6only.example.com", "v6only.example.com (A): The DNS response does not contain an answer"),
        ("silent.example.com", "silent.example.com (A): The resolution lifetime expired"),
        ("_none._udp.example.com", "_none._udp.example.com: the SRV record says that this service is not offered"),
        ("_gone._udp.example.com", "_gone._udp.example.com: none of its targets has an address: absent.example.com"),
        ("a..b", "a..b (A): A DNS label is empty"),
        ("x" * 64 + ".example.com", "A DNS label is > 63 octets long"),
    ],
)
def test_what_cannot_be_resolved_says_why(run: Run, name: str, says: str) -> None:
    async def scenario(server: Nameserver, resolver: Resolver) -> None:
        server.put("v6only.example.com", "AAAA", "60 2001:db8::1")
        server.silent.add("silent.example.com")
        server.put("_none._udp.example.com", "SRV", "60 0 0 0 .")
        server.put("_gone._udp.example.com", "SRV", "60 0 0 5060 absent.example.com.")
        with pytest.raises(Unresolved) as raised:
            await resolver.resolve(real(name))
        assert says in str(raised.value)

    run(scenario)


def test_a_name_server_that_is_not_there(run: Run) -> None:
    async def scenario(server: Nameserver, resolver: Resolver) -> None:
        server.close()
        with pytest.raises(Unresolved, match="pbx.example.com"):
            await resolver.resolve(real("pbx.example.com"))

    run(scenario)


def test_hosts_file_comes_before_dns(run: Run, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("192.0.2.9 PBX.example.com pbx # the old one\n")

    async def scenario(server: Nameserver, resolver: Resolver) -> None:
        server.put("pbx.example.com", "A", "300 192.0.2.1")
        server.put("_sip._udp.example.com", "SRV", "600 10 1 5062 pbx.example.com.")
        found = await resolver.resolve(real("pbx.example.com"))
        assert (keys(found), found.ttl) == (["192.0.2.9:5060"], 60)
        assert keys(await resolver.resolve(real("_sip._udp.example.com"))) == ["192.0.2.9:5062"]
        assert server.asked == [("_sip._udp.example.com", "SRV")]

    run(scenario, hosts)


def test_an_address_stands_for_itself(run: Run) -> None:
    async def scenario(server: Nameserver, resolver: Resolver) -> None:
        literal = real("192.0.2.1", name="mine")
        assert (await resolver.resolve(literal)).servers == (literal,)
        assert server.asked == []

    run(scenario)


def test_hosts_are_read_anew_when_they_changed(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    hosts = Hosts(path)
    assert hosts.addresses("pbx", 4) == []
    path.write_text("192.0.2.1 pbx\n2001:db8::1 pbx\n")
    assert (hosts.addresses("PBX.", 4), hosts.addresses("pbx", 6)) == (["192.0.2.1"], ["2001:db8::1"])
    path.write_text("192.0.2.2 pbx\n2001:db8::1 pbx\n")
    os.utime(path, ns=(1, 1))
    assert hosts.addresses("pbx", 4) == ["192.0.2.2"]
    path.unlink()
    assert hosts.addresses("pbx", 4) == []


def test_hosts_lines() -> None:
    text = "# all\n\n127.0.0.1\tlocalhost  Loop # x\nnonsense here\n::1 localhost\n192.0.2.1 # nobody\n"
    assert read_hosts(text) == {"localhost": ["127.0.0.1", "::1"], "loop": ["127.0.0.1"]}


def test_a_drained_server_stays_drained_whatever_srv_says(run: Run) -> None:
    async def scenario(server: Nameserver, resolver: Resolver) -> None:
        server.put("_sip._udp.example.com", "SRV", "60 10 70 5060 a.example.com.")
        server.put("a.example.com", "A", "60 192.0.2.1")
        found = await resolver.resolve(real("_sip._udp.example.com", weight=0))
        assert [each.weight for each in found.servers] == [0]

    run(scenario)


def test_the_operators_own_name_is_kept() -> None:
    assert placed(real("pbx.example.com", name="mine"), ()) == ()
    (server,) = placed(real("pbx.example.com", name="mine", lines={"host": 7}), [Place("192.0.2.1", "pbx.example.com")])
    assert (server.name, server.lines) == ("mine", {"host": 7})


@pytest.mark.parametrize(("host", "literal"), [("192.0.2.1", True), ("2001:db8::1", True), ("pbx", False)])
def test_is_literal(host: str, literal: bool) -> None:
    assert is_literal(host) is literal
