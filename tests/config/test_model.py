"""Values: defaults, keys, and that nothing can change them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sipbalancer.config.model import RealServerConfig, VirtualServiceConfig


def test_keys_write_ipv6_in_brackets() -> None:
    assert RealServerConfig(host="10.0.0.2", port=5070).key == "10.0.0.2:5070"
    assert RealServerConfig(host="2001:db8::2").key == "[2001:db8::2]:5060"
    assert VirtualServiceConfig(host="2001:db8::1", port=5062).key == "[2001:db8::1]:5062"


def test_an_srv_name_is_known_by_its_underscore() -> None:
    assert RealServerConfig(host="_sip._udp.example.com", port=0).is_srv
    assert not RealServerConfig(host="sip.example.com").is_srv


def test_values_are_frozen_and_know_only_their_fields() -> None:
    server = RealServerConfig(host="10.0.0.2")
    with pytest.raises(ValidationError):
        server.weight = 5
    with pytest.raises(ValidationError):
        RealServerConfig.model_validate({"host": "10.0.0.2", "wieght": 5})


def test_a_moved_line_is_the_same_value() -> None:
    one, two = RealServerConfig(host="a", lines={"host": 1}), RealServerConfig(host="a", lines={"host": 9})
    assert one == two and hash(one) == hash(two)
    assert one != RealServerConfig(host="a", weight=2)
    assert one != "a"
