from __future__ import annotations

import json

from sipbalancer import __version__
from sipbalancer.daemon.rates import Rates
from sipbalancer.daemon.status import status_document, where_document
from sipbalancer.director.snapshot import ContactSnapshot, ServerSnapshot, ServiceSnapshot, Snapshot, WhereSnapshot
from sipbalancer.director.verdict import Verdict

VIRTUAL, SERVER = "192.0.2.10:5060", "192.0.2.1:5060"


def snapshot(now: float, calls: int) -> Snapshot:
    server = ServerSnapshot(
        "ast1", SERVER, Verdict.DRAINING, "503", 90.0, 0.01, 2, False, True, calls, 4, 1, {"INVITE": calls}, {"2xx": 1},
        {"ok": 9}, (), 0.0,
    )  # fmt: skip
    service = ServiceSnapshot(VIRTUAL, "wrr", (server,), {"call": 1}, {"malformed": 2}, {"binding": 4}, ("not here",))
    return Snapshot(now, 50.0, (service,), {"ok": 1, "failed": 0})


def test_the_document_has_all_that_status_shows() -> None:
    rates = Rates()
    rates.observe(snapshot(100.0, 10))
    rates.observe(snapshot(101.0, 13))
    document = status_document(snapshot(101.0, 13), rates, "conf.cf", ["memory only"])
    assert json.loads(json.dumps(document)) == {
        "version": __version__,
        "file": "conf.cf",
        "now": 101.0,
        "started": 50.0,
        "reloads": {"ok": 1, "failed": 0},
        "notes": ["memory only"],
        "services": [
            {
                "virtual": VIRTUAL,
                "scheduler": "wrr",
                "notes": ["not here"],
                "chosen": {"call": 1},
                "dropped": {"malformed": 2},
                "pins": {"binding": 4},
                "servers": [
                    {
                        "name": "ast1",
                        "server": SERVER,
                        "verdict": "draining",
                        "reason": "503",
                        "since": 90.0,
                        "latency": 0.01,
                        "weight": 2,
                        "fallback": False,
                        "drained": True,
                        "calls": 13,
                        "registrations": 4,
                        "transactions": 1,
                        "requests_per_second": 3.0,
                        "requests": {"INVITE": 13},
                        "responses": {"2xx": 1},
                        "probes": {"ok": 9},
                    }
                ],
            }
        ],
    }


def test_where() -> None:
    contact = ContactSnapshot("sip:100@198.51.100.7:5062", "198.51.100.7:5062", 60.0)
    found = where_document([WhereSnapshot("sip:100@pbx", VIRTUAL, SERVER, (contact,), 90.0)])
    assert json.loads(json.dumps(found)) == [
        {
            "aor": "sip:100@pbx",
            "virtual": VIRTUAL,
            "server": SERVER,
            "expires": 90.0,
            "contacts": [{"uri": "sip:100@198.51.100.7:5062", "client": "198.51.100.7:5062", "expires": 60.0}],
        }
    ]
