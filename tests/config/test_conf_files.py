"""The two files we ship: they load, and the long one documents every word with its true default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sipbalancer.config.directives import GLOBAL, GLOBAL_SERVER_WORDS, SECTION, SERVER_WORDS, Standing
from sipbalancer.config.model import CheckConfig, Config, RealServerConfig, VirtualServiceConfig
from sipbalancer.config.parser import parse
from sipbalancer.config.values import written

CONF = Path(__file__).parent.parent.parent / "conf"
FULL = (CONF / "sipbalancer.cf").read_text()
MINIMAL = (CONF / "minimal.cf").read_text()

SPELLED = {
    "host": "host:port",
    "port": "host:port",
    "family": "virtual6",
    "forwarding": "gate|masq|ipip",
    "weight": "[weight]",
    "upper": "u:N",
    "lower": "l:N",
    "priority": "priorities",
    "name": "host name",
    "mixed_connects": "N (one judged",
    "check": "checktype",
}
"""Fields whose words are parts of a line."""

EXAMPLE = re.compile(r"^( *)#([a-z0-9]+ = .*)$", re.MULTILINE)


def test_minimal_is_short_and_has_no_warning() -> None:
    parsed = parse(MINIMAL, "conf/minimal.cf")
    assert len(MINIMAL.splitlines()) < 10
    assert [server.key for server in parsed.config.virtual[0].real] == ["192.168.6.2:5060", "192.168.6.3:5060"]
    assert [finding for finding in parsed.warnings if not finding.note] == []


def test_the_full_file_loads_without_a_warning() -> None:
    parsed = parse(FULL, "conf/sipbalancer.cf")
    assert len(parsed.config.virtual[0].real) == 2
    assert [finding for finding in parsed.warnings if not finding.note] == []


def test_the_full_file_means_the_defaults() -> None:
    (found,) = parse(FULL, "f").config.virtual
    fields = {"lines", "host", "port", "real", "check"}
    assert found.model_dump(exclude=fields) == VirtualServiceConfig(host="x").model_dump(exclude=fields)
    assert found.check.model_dump(exclude={"lines"}) == CheckConfig().model_dump(exclude={"lines"})


@pytest.mark.parametrize("model", [Config, VirtualServiceConfig, CheckConfig, RealServerConfig])
def test_every_field_is_documented(model: type[Config]) -> None:
    words = {SPELLED.get(name, f"{name} = ") for name in model.model_fields} - {"lines = ", "path = "}
    shown = FULL.replace('["request","receive"]', "request = receive = ")
    assert {word for word in words if word not in shown} == set()


def test_every_word_of_the_table_is_documented() -> None:
    words = {*GLOBAL, *SECTION, *SERVER_WORDS, *GLOBAL_SERVER_WORDS, "virtual", "virtual6", "real6"}
    assert {word for word in words if not re.search(rf"\b{word}\b", FULL)} == set()


def test_every_example_is_accepted_where_it_stands() -> None:
    parsed = parse(EXAMPLE.sub(r"\1\2", FULL), "f")
    touched = {*parsed.config.lines, *parsed.config.virtual[0].lines, *parsed.config.virtual[0].check.lines}
    working = {row.word for row in (*GLOBAL.values(), *SECTION.values()) if row.standing is Standing.WORKS}
    assert working - touched == set()


def examples() -> list[tuple[str, str]]:
    """(word, value) of every example that claims to be a default."""
    found = []
    for paragraph in FULL.split("\n\n"):
        if "No default" not in paragraph:
            found += [tuple(match[2].split(" = ", 1)) for match in EXAMPLE.finditer(paragraph)]
    return [(word, value.strip('"')) for word, value in found]


@pytest.mark.parametrize(("word", "value"), examples())
def test_a_stated_default_is_the_default(word: str, value: str) -> None:
    for model in (Config, VirtualServiceConfig, CheckConfig):
        if word in model.model_fields:
            assert written(model.model_fields[word].default) == value
            return
    pytest.fail(f"{word} is no field")
