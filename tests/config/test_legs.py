from __future__ import annotations

import pytest

from sipbalancer.config.legs import leg_clashes
from sipbalancer.config.model import Config
from sipbalancer.config.parser import parse
from sipbalancer.errors import ConfigError


def config(*sections: str, workers: int = 4) -> Config:
    text = "".join(f"{section}\n    real = 10.0.0.11:5060 masq\n    protocol = udp\n" for section in sections)
    return parse(text, "a.cf").config.model_copy(update={"workers": workers})


def clashes(*sections: str, workers: int = 4) -> list[str]:
    return [clash.advice for clash in leg_clashes(config(*sections), workers)]


def test_by_default_ten_thousand_above_the_service() -> None:
    (service,) = config("virtual = 10.0.0.1:5060").virtual
    assert list(service.leg_ports(3)) == [15060, 15061, 15062]
    assert list(service.leg_ports(1)) == []


def test_services_far_enough_apart_or_on_other_addresses_do_not_clash() -> None:
    assert clashes("virtual = 10.0.0.1:5060", "virtual = 10.0.0.2:5060", "virtual = 10.0.0.1:5070") == []
    assert clashes("virtual = 10.0.0.1:5060", "virtual = 10.0.0.1:5061", workers=1) == []


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            ("virtual = 10.0.0.1:5060", "virtual = 10.0.0.1:5063"),
            "virtual 10.0.0.1:5063 asks servers from ports 15063-15066, but 15063 is taken"
            " (virtual 10.0.0.1:5060 asks servers from it); write legport = 15067",
        ),
        (
            ("virtual = 10.0.0.1:5060\n    legport = 5058",),
            "virtual 10.0.0.1:5060 asks servers from ports 5058-5061, but 5060 is taken"
            " (virtual 10.0.0.1:5060 itself); write legport = 5062",
        ),
        (
            ("virtual = 10.0.0.11:5062\n    legport = 5058",),
            "virtual 10.0.0.11:5062 asks servers from ports 5058-5061, but 5060 is taken"
            " (real server 10.0.0.11:5060); write legport = 5063",
        ),
        (
            ("virtual = 10.0.0.1:60000",),
            "virtual 10.0.0.1:60000 asks servers from ports 70000-70003, beyond 65535; write legport = 65528",
        ),
    ],
)
def test_each_clash_is_told_with_what_to_write(sections: tuple[str, ...], said: str) -> None:
    assert clashes(*sections) == [said]


def test_a_clash_is_an_error_of_the_file_with_its_line() -> None:
    text = "workers = 2\nvirtual = 10.0.0.1:5060\n    real = 10.0.0.2 masq\n    legport = 5059\n    protocol = udp\n"
    with pytest.raises(ConfigError, match=r"a\.cf:4: legport: virtual 10\.0\.0\.1:5060 asks servers from ports 5059"):
        parse(text, "a.cf")
    assert parse(text.replace("workers = 2", "workers = 1"), "a.cf").config.workers == 1
    assert parse(text.replace("workers = 2", "workers = auto"), "a.cf").config.workers == 0
