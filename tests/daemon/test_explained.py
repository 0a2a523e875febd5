from __future__ import annotations

import json
from pathlib import Path

import pytest

from sipbalancer.config.model import Config, RealServerConfig, VirtualServiceConfig
from sipbalancer.daemon.explained import ASSUMED_UP, explain_document, explain_file, read_source
from sipbalancer.errors import AdminError
from sipbalancer.sip.flow import pack_address
from tests.director.explaining import request
from tests.flows.pool import Pool


def test_the_document_is_plain_json() -> None:
    pool = Pool()
    document = explain_document(pool.balancer.table, request(), "10.1.0.9:5060", "", pool.lab.now)
    assert json.loads(json.dumps(document)) == document
    assert document["outcome"] == "goes to server 10.0.0.11:5060"
    assert document["by"] == "scheduler" and document["virtual_by"] == "the only one"


def test_a_source_is_an_address_with_a_port() -> None:
    assert read_source("192.0.2.1:5060") == pack_address("192.0.2.1", 5060)
    assert read_source("[2001:db8::1]:5060") == pack_address("2001:db8::1", 5060)
    assert read_source("") is None
    for text in ("192.0.2.1", "phone:5060", "192.0.2.1:x", "192.0.2.1:99999"):
        with pytest.raises(AdminError, match=f"from: {text}: write an address and a port"):
            read_source(text)


def test_a_file_alone_has_all_servers_up_and_makes_nothing(tmp_path: Path) -> None:
    reals = (RealServerConfig(host="127.0.0.1"), RealServerConfig(host="127.0.0.2", weight=0))
    config = Config(virtual=(VirtualServiceConfig(host="127.0.0.10", real=reals),), state=str(tmp_path / "state"))
    secret = tmp_path / "state" / "secret"
    document = explain_file(config, request(), "", "", 0.0)
    assert document["outcome"] == "goes to server 127.0.0.1:5060"
    lost = f"{secret}: no such file or directory: tokens of the running balancer cannot be opened here"
    assert document["notes"] == [ASSUMED_UP, lost]
    assert list(tmp_path.iterdir()) == []
    secret.parent.mkdir()
    secret.write_text("00" * 32)
    assert explain_file(config, request(), "", "", 0.0)["notes"] == [ASSUMED_UP]
