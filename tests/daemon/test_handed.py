from __future__ import annotations

import json
from pathlib import Path

from sipbalancer.config.parser import parse
from sipbalancer.daemon.handed import config_body, config_of, crossed_body, crossed_of, rows_body, rows_of
from sipbalancer.director.bindings import BindingRow
from sipbalancer.director.crossing import Answered, Moved

FULL = Path(__file__).parents[2] / "conf" / "sipbalancer.cf"


def through(body: object) -> object:
    return json.loads(json.dumps(body))


def test_a_configuration_arrives_as_it_was_but_for_its_lines_and_the_share_of_its_rates() -> None:
    config = parse(FULL.read_text(), str(FULL)).config
    rated = tuple(service.model_copy(update={"registerrate": 90.0}) for service in config.virtual)
    config = config.model_copy(update={"virtual": rated})
    arrived = config_of(through(config_body(config, 3)))
    assert {service.registerrate for service in arrived.virtual} == {30.0}
    back = tuple(service.model_copy(update={"registerrate": 90.0}) for service in arrived.virtual)
    assert arrived.model_copy(update={"virtual": back}) == config


def test_contacts_arrive_with_every_octet() -> None:
    text = bytes(range(128, 256)).decode("utf-8", "surrogateescape")
    rows = [BindingRow("192.0.2.1:5060", text, f"sip:{text}", bytes(range(6)), "192.0.2.2:5060", 17.5)]
    assert rows_of(through(rows_body(rows))) == rows


def test_what_crosses_arrives_with_every_octet() -> None:
    every = bytes(range(256))
    crossed = ([Answered(every, 200, every * 3)], [every], [Moved(2**64 - 1, every[:6])])
    assert crossed_of(through(crossed_body(crossed))) == crossed
