"""What an operator who comes from ldirectord should know about a file that is right: its traps, and where this
program differs. Warnings ask for an act, notes only tell. Errors here are contradictions between lines.

Each rule is a function of a section; the table at the end is the list of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sipbalancer.config.address import literal
from sipbalancer.config.findings import Findings
from sipbalancer.config.legs import leg_clashes
from sipbalancer.config.model import CheckType, Config, Forwarding, PersistenceKey, Scheduler, VirtualServiceConfig
from sipbalancer.config.section import Draft, GlobalWords


class View(NamedTuple):
    """A section as it was written and as it was understood."""

    draft: Draft
    service: VirtualServiceConfig
    top: GlobalWords
    findings: Findings

    def line(self, word: str) -> int:
        """Where `word` was written in the section, 0 if it was not."""
        given = self.draft.given.get(word)
        return given.line if given is not None else 0

    def warn(self, line: int, word: str, advice: str) -> None:
        self.findings.warn(line, word, advice)

    def note(self, line: int, word: str, advice: str) -> None:
        self.findings.note(line, word, advice)

    @property
    def head(self) -> int:
        return self.draft.head.line


Rule = Callable[[View], None]


def lint_section(draft: Draft, service: VirtualServiceConfig, top: GlobalWords, findings: Findings) -> None:
    """Run all rules on one section."""
    view = View(draft, service, top, findings)
    for rule in RULES:
        rule(view)


def lint_config(config: Config, findings: Findings) -> None:
    """Rules that need the whole file: global words that mean something else here, a server that is our own service."""
    if line := config.lines.get("maintenancedir"):
        findings.note(line, "maintenancedir", "a server named by a file there drains (ldirectord: is down at once)")
    if line := config.lines.get("readdquiescent"):
        advice = (
            "whether pins from before wait for a server that is down since the start, or since it came into the file"
        )
        findings.note(line, "readdquiescent", f"{advice}; counts with quiescent = yes only")
    for clash in leg_clashes(config, config.workers):
        findings.error(clash.line, "legport", clash.advice)
    services = {service.key: service.lines["host"] for service in config.virtual}
    for service in config.virtual:
        for server in (*service.real, *([service.fallback] if service.fallback else [])):
            line = server.lines["host"]
            if server.key == service.key:
                findings.error(
                    line, "real", f"{server.key} is the virtual address itself: requests would go in a circle"
                )
            elif server.key in services:
                where = services[server.key]
                findings.warn(line, "real", f"{server.key} is the virtual service of line {where}, not an Asterisk")


def _defaults_that_differ(view: View) -> None:
    if not view.line("protocol"):
        view.note(view.head, "protocol", "not written: udp here (ldirectord: tcp)")
    if not view.line("scheduler"):
        view.note(view.head, "scheduler", "not written: rr here (ldirectord: wrr)")
    if "quiescent" not in view.service.lines:
        view.note(view.head, "quiescent", "not written: no, as in ldirectord's program (its manual says yes)")


def _weights(view: View) -> None:
    weights = {server.weight for server in view.service.real} - {0}
    line = view.line("scheduler") or view.head
    if len(weights) > 1 and view.service.scheduler in (Scheduler.RR, Scheduler.LC):
        weighted = f"w{view.service.scheduler.value}"
        advice = f"{view.service.scheduler.value} ignores the weights of this section; write scheduler = {weighted}"
        view.warn(line, "scheduler", advice)
    if view.service.real and not weights:
        view.warn(view.head, "real", "every server has weight 0 (drained): nothing takes new work")


def _no_server(view: View) -> None:
    if not view.draft.reals:
        takes = "the fallback takes everything" if view.service.fallback else "every request is answered 503"
        view.warn(view.head, "real", f"no server in this section: {takes}; write real = host:port masq")


def _forwarding(view: View) -> None:
    lines = [w.line for w in view.draft.reals if w.method and w.servers[0].forwarding is not Forwarding.MASQ]
    if lines:
        where = f" (lines {', '.join(str(line) for line in lines)})" if len(lines) > 1 else ""
        view.warn(
            lines[0],
            "real",
            f"gate and ipip{where}: packets are proxied here, so every method acts as masq. A server that still carries"
            f" {view.service.host} on lo drops everything from here: remove the address there first",
        )


def _port_mapping(view: View) -> None:
    for written in view.draft.reals:
        if written.method and written.servers[0].forwarding is not Forwarding.MASQ:
            port = written.port
            if port is not None and port != view.service.port:
                advice = f"port {port} is used here; IPVS would go to {view.service.port} with gate and ipip"
                view.warn(written.line, "real", advice)


def _thresholds(view: View) -> None:
    for written in view.draft.reals:
        server = written.servers[0]
        if server.lower and not server.upper:
            view.warn(written.line, "real", f"l:{server.lower} does nothing without an upper threshold; write u:N too")
        if server.upper:
            advice = "u: counts calls and registrations; what is registered there stays, nothing new comes (as in IPVS)"
            view.note(written.line, "real", advice)
        if server.upper and server.lower > server.upper:
            view.warn(written.line, "real", f"l:{server.lower} is above u:{server.upper}; write the smaller one as l:")


def _pairs(view: View) -> None:
    for written in view.draft.reals:
        if written.servers[0].receive:
            advice = (
                "the receive pattern works here (ldirectord's SIP check ignores it): an answer without it is a failure"
            )
            view.warn(written.line, "real", advice)


def _receive(view: View) -> None:
    if line := view.line("receive"):
        advice = "works here (ldirectord's SIP check ignores it): an answer that does not match is a failure"
        view.warn(line, "receive", f"{advice}; remove it unless you want that")


def _login(view: View) -> None:
    if line := view.line("login"):
        view.note(
            line,
            "login",
            "Asterisk answers 404 to OPTIONS for a user its dialplan does not have; that is up here (ldirectord: down)."
            " Without login the probe has no user",
        )
    else:
        theirs = "sip:ldirectord@HOSTNAME" if view.line("service") else "an empty `sip:`, as service is not written"
        view.note(view.head, "login", f"not written: the probe asks sip:host:port (ldirectord: {theirs})")


def _persistence(view: View) -> None:
    key = view.service.persistencekey
    if (line := view.line("netmask")) and key is not PersistenceKey.SOURCE:
        advice = (
            f"does nothing with persistencekey = {key.value}; write persistencekey = source to pin by client network"
        )
        view.warn(line, "netmask", advice)
    if (line := view.line("persistent")) and "persistencekey" not in view.service.lines:
        advice = "pins each registration (ldirectord pins each client address; write persistencekey = source for that)"
        view.note(line, "persistent", advice)


def _netmask_form(view: View) -> None:
    mask = view.service.netmask
    if mask and ("." in mask) == view.draft.six:
        right = "a prefix length: netmask = 64" if view.draft.six else "a dotted quad: netmask = 255.255.255.0"
        view.findings.error(
            view.line("netmask"), "netmask", f"`{mask}` is for the other kind of address; write {right}"
        )


def _interval(view: View) -> None:
    fork = view.top.given.get("fork")
    if (line := view.line("checkinterval")) and not (fork and fork.value):
        view.note(line, "checkinterval", "works in a section here (ldirectord ignores it there unless fork = yes)")


def _check_type(view: View) -> None:
    kind = view.service.check.checktype
    if (line := view.line("checktype")) and (telling := _TELLING.get(kind)):
        view.note(line, "checktype", telling)
    if (service := view.line("service")) and view.service.service == "none":
        view.warn(service, "service", "`none` is served as SIP, without checks as in ldirectord; write service = sip")
    if line and kind is CheckType.OFF:
        view.warn(line, "checktype", "off: no server of this section takes any work, as in ldirectord; on = always up")


_TELLING = {
    CheckType.CONNECT: "any answer to an OPTIONS is a success (ldirectord: an ICMP ping, as the protocol is udp)",
    CheckType.MIXED: "N times any answer to an OPTIONS will do, then one is judged (ldirectord: N ICMP pings)",
    CheckType.EXTERNAL_PERL: "the script runs as a process of its own, with perl",
}


def _check_words(view: View) -> None:
    kind = view.service.check.checktype
    external = kind in (CheckType.EXTERNAL, CheckType.EXTERNAL_PERL)
    if external and not view.line("checkcommand"):
        advice = 'without checkcommand /bin/true is asked: always up; write checkcommand = "/path/to/script"'
        view.warn(view.line("checktype"), "checktype", advice)
    if (line := view.line("checkcommand")) and not external:
        view.warn(line, "checkcommand", f"is not run with checktype = {kind.value}; write checktype = external")
    if (line := view.line("checkcount")) and kind is not CheckType.PING:
        view.note(line, "checkcount", "counts for checktype = ping only; failurecount is what you may want")


def _sources(view: View) -> None:
    owners: dict[str, str] = {}
    for server in view.service.real:
        for address in server.source:
            if owners.setdefault(address, server.key) != server.key:
                advice = f"{address} belongs to {owners[address]} already; one address tells one server"
                view.findings.error(server.lines["source"], "source", advice)


def _host_name(view: View) -> None:
    if literal(view.service.host) is None:
        view.note(view.head, view.draft.head.word, f"the name {view.service.host} is looked up once, at start")


RULES: tuple[Rule, ...] = (
    _defaults_that_differ,
    _host_name,
    _no_server,
    _weights,
    _forwarding,
    _port_mapping,
    _thresholds,
    _pairs,
    _receive,
    _login,
    _persistence,
    _netmask_form,
    _interval,
    _check_type,
    _check_words,
    _sources,
)
