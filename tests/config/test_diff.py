"""A reload as a list of changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sipbalancer.config.diff import Change, Kind, WordChange, plan
from sipbalancer.config.model import Config
from sipbalancer.config.parser import parse

OLD = """checkinterval = 5
virtual = 10.0.0.1:5060
    real = 10.0.0.11:5060 masq 1
    real = 10.0.0.12:5060 masq 1
    fallback = 10.0.0.9:5060
    scheduler = rr
virtual = 10.0.0.2:5060
    real = 10.0.0.11:5060 masq
"""


def config(text: str) -> Config:
    return parse(text, "a.cf").config


def lines(new: str, old: str = OLD) -> list[str]:
    return [str(change) for change in plan(config(old), config(new))]


def test_the_same_meaning_is_no_difference_wherever_the_lines_stand() -> None:
    moved = "# a comment\n\n" + OLD.replace("masq 1", "masq").replace("    scheduler = rr\n", "")
    assert plan(config(OLD), config(moved)) == ()


def test_words_of_a_service_and_of_its_check() -> None:
    new = OLD.replace("scheduler = rr", "scheduler = wlc\n    quiescent = yes\n    checkinterval = 2.5")
    assert lines(new) == ["~ virtual 10.0.0.1:5060: scheduler rr -> wlc; quiescent no -> yes; checkinterval 5 -> 2.5"]


def test_a_global_word_changes_every_service_it_reaches() -> None:
    assert lines(OLD.replace("checkinterval = 5", "checkinterval = 7")) == [
        "~ virtual 10.0.0.1:5060: checkinterval 5 -> 7",
        "~ virtual 10.0.0.2:5060: checkinterval 5 -> 7",
    ]


def test_servers_come_go_and_change() -> None:
    new = OLD.replace("real = 10.0.0.11:5060 masq 1", "real = 10.0.0.13:5060 masq").replace(
        "12:5060 masq 1", "12:5060 masq 0"
    )
    assert lines(new) == [
        "+ virtual 10.0.0.1:5060 real 10.0.0.13:5060",
        "~ virtual 10.0.0.1:5060 real 10.0.0.12:5060: weight 1 -> 0",
        "- virtual 10.0.0.1:5060 real 10.0.0.11:5060",
    ]


def test_services_come_and_go() -> None:
    assert lines(OLD.replace("virtual = 10.0.0.2", "virtual = 10.0.0.3")) == [
        "+ virtual 10.0.0.3:5060",
        "- virtual 10.0.0.2:5060",
    ]


def test_a_fallback_is_a_word_of_its_service() -> None:
    assert lines(OLD.replace("    fallback = 10.0.0.9:5060\n", "")) == [
        "~ virtual 10.0.0.1:5060: fallback 10.0.0.9:5060 -> -"
    ]
    assert lines(OLD.replace("fallback = 10.0.0.9:5060", "fallback = 10.0.0.9:5060 masq")) == [
        "~ virtual 10.0.0.1:5060: fallback forwarding gate -> masq"
    ]


def test_globals() -> None:
    found = plan(config(OLD), config("metrics = no\nautoreload = yes\n" + OLD))
    assert [str(change) for change in found] == ["~ global: autoreload no -> yes; metrics 127.0.0.1:9436 -> no"]


def test_passwords_are_not_shown() -> None:
    (line,) = lines(OLD + "    passwd = tiger\n    secret = /lion\n")
    assert line == "~ virtual 10.0.0.2:5060: passwd (hidden) -> (hidden); secret (hidden) -> (hidden)"


def test_changes_are_values() -> None:
    (change,) = plan(config(OLD), config(OLD.replace("scheduler = rr", "scheduler = sh")))
    assert change == Change(Kind.CHANGED, "10.0.0.1:5060", "", (WordChange("scheduler", "rr", "sh"),))


SERVERS = st.dictionaries(st.integers(2, 9), st.integers(0, 3), max_size=4)


def written(services: dict[int, dict[int, int]]) -> str:
    rows = []
    for port, servers in services.items():
        rows.append(f"virtual = 10.0.0.1:{port}")
        rows += [f"    real = 10.0.1.{host}:5060 masq {weight}" for host, weight in servers.items()]
    return "\n".join(rows)


FILES = st.dictionaries(st.integers(5060, 5063), SERVERS, min_size=1)


@given(FILES, FILES)
def test_a_plan_says_exactly_what_differs(old: dict[int, dict[int, int]], new: dict[int, dict[int, int]]) -> None:
    """The old servers with the plan carried out are the new ones."""
    now = {
        (f"10.0.0.1:{port}", f"10.0.1.{host}:5060"): str(w) for port, hosts in old.items() for host, w in hosts.items()
    }
    wanted = {
        (f"10.0.0.1:{port}", f"10.0.1.{host}:5060"): str(w) for port, hosts in new.items() for host, w in hosts.items()
    }
    for kind, virtual, real, words in plan(config(written(old)), config(written(new))):
        touched = {key for key in {**now, **wanted} if key[0] == virtual and real in ("", key[1])}
        for key in touched:
            if kind is Kind.REMOVED:
                now.pop(key, None)
            else:
                now[key] = words[0].new if words else wanted[key]
    assert now == wanted
