"""Port names, as in /etc/services. The text of that file comes in from outside; nothing is opened here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

WELL_KNOWN: Mapping[str, int] = MappingProxyType(
    {
        "domain": 53,
        "ftp": 21,
        "http": 80,
        "https": 443,
        "imap": 143,
        "imap2": 143,
        "imaps": 993,
        "ldap": 389,
        "ldaps": 636,
        "mysql": 3306,
        "nntp": 119,
        "pop3": 110,
        "pop3s": 995,
        "postgresql": 5432,
        "radius": 1812,
        "sip": 5060,
        "sip-tls": 5061,
        "sips": 5061,
        "smtp": 25,
        "submission": 587,
    }
)
"""Names that work on a machine without /etc/services."""

LDIRECTORD_SERVICES = frozenset(
    "dns ftp http https http_proxy imap imaps ldap ldaps mysql nntp none oracle pgsql pop pops radius simpletcp sip"
    " smtp submission".split()
)
"""What ldirectord's `service =` may say."""

SERVICE_OF_PORT: Mapping[int, str] = MappingProxyType(
    {
        21: "ftp",
        25: "smtp",
        53: "dns",
        80: "http",
        110: "pop",
        119: "nntp",
        143: "imap",
        389: "ldap",
        443: "https",
        587: "submission",
        636: "ldaps",
        993: "imaps",
        995: "pops",
        1521: "oracle",
        1812: "radius",
        3128: "http_proxy",
        3306: "mysql",
        5432: "pgsql",
    }
)
"""What ldirectord takes a port for when `service` is not written; any other port is SIP here."""


def read_services(text: str) -> dict[str, int]:
    """The text of /etc/services as name (and aliases) to port; a udp entry wins over a tcp one. Never raises."""
    udp: dict[str, int] = {}
    tcp: dict[str, int] = {}
    for line in text.splitlines():
        fields = line.partition("#")[0].split()
        if len(fields) < 2:
            continue
        port, _, protocol = fields[1].partition("/")
        if port.isascii() and port.isdigit() and len(port) <= 5 and protocol in ("udp", "tcp"):
            table = udp if protocol == "udp" else tcp
            for name in (fields[0], *fields[2:]):
                table.setdefault(name, int(port))
    return {**tcp, **udp}
