"""The text of /etc/services."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sipbalancer.config.services import read_services


def test_names_and_aliases_and_udp_first() -> None:
    text = """# comment
sip             5060/tcp                        # Session Initiation Protocol
sip             5060/udp
shell           514/tcp         cmd syslogd
syslog          514/udp
odd             77/tcp
odd             78/udp          strange
broken
none            x/udp
sctp            99/sctp
"""
    assert read_services(text) == {
        "sip": 5060, "shell": 514, "cmd": 514, "syslogd": 514, "syslog": 514, "odd": 78, "strange": 78,
    }  # fmt: skip


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert all(isinstance(port, int) for port in read_services(text).values())
