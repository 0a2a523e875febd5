"""The table of words against the models: no word without a field, no field without a word."""

from __future__ import annotations

import pytest

from sipbalancer.config.directives import GLOBAL, SECTION, Directive, Owner, Standing
from sipbalancer.config.findings import Cell, Findings
from sipbalancer.config.model import CheckConfig, Config, Frozen, VirtualServiceConfig

MODELS: dict[Owner, type[Frozen]] = {
    Owner.CONFIG: Config,
    Owner.SERVICE: VirtualServiceConfig,
    Owner.CHECK: CheckConfig,
}
WITHOUT_A_ROW = {
    Owner.CONFIG: {"lines", "path", "virtual"},
    Owner.SERVICE: {"lines", "host", "port", "family", "real", "fallback", "check", "alias"},
    Owner.CHECK: {"lines", "mixed_connects"},
}
LDIRECTORD_GLOBAL = (
    "checktimeout negotiatetimeout checkinterval checkcount failurecount autoreload callback fallbackcommand logfile"
    " emailalert emailalertfrom emailalertfreq emailalertstatus smtp execute supervised fork quiescent readdquiescent"
    " cleanstop maintenancedir"
).split()
LDIRECTORD_SECTION = (
    "request receive checktype checkcommand checktimeout negotiatetimeout checkcount failurecount checkinterval"
    " checkport login passwd database secret load scheduler persistent schedflags netmask protocol ops service"
    " httpmethod virtualhost fallbackcommand quiescent emailalert emailalertfreq emailalertstatus monitorfile cleanstop"
    " smtp servicename comment"
).split()


@pytest.mark.parametrize("owner", Owner)
def test_every_field_has_a_word_and_every_word_a_field(owner: Owner) -> None:
    words = {word for table in (GLOBAL, SECTION) for word, row in table.items() if row.owner is owner}
    assert words == set(MODELS[owner].model_fields) - WITHOUT_A_ROW[owner]


def test_every_directive_of_ldirectord_is_known_where_ldirectord_knows_it() -> None:
    assert set(LDIRECTORD_GLOBAL) - set(GLOBAL) == set()
    assert set(LDIRECTORD_SECTION) - set(SECTION) == set()


@pytest.mark.parametrize("row", [*GLOBAL.values(), *SECTION.values()], ids=lambda row: row.word)
def test_a_word_that_does_not_work_says_what_it_means(row: Directive) -> None:
    assert bool(row.meaning) == (row.standing is not Standing.WORKS)


@pytest.mark.parametrize("name", ["lblc", "lblcr", "twos", "mh"])
def test_schedulers_of_ipvs_without_a_twin_become_the_nearest(name: str) -> None:
    findings = Findings("f")
    used = SECTION["scheduler"].read(Cell(findings, 1, "scheduler", name))
    (said,) = findings.warnings()
    assert said.advice == f"`{name}` is not built here; {used} is used: write scheduler = {used}"
