from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from sipbalancer import __version__
from sipbalancer.compiled import runs
from sipbalancer.daemon.loop_lag import Pauses
from sipbalancer.daemon.metrics import Page, render
from sipbalancer.director.snapshot import PROBE_BUCKETS, Drain, ServerSnapshot, ServiceSnapshot, Snapshot
from sipbalancer.director.verdict import ProbeResult, Verdict

VIRTUAL = "192.0.2.10:5060"
ONE, TWO = "192.0.2.1:5060", "192.0.2.2:5060"
PROMTOOL = shutil.which("promtool")

BUSY = ServerSnapshot(
    name="ast1.example.com",
    key=ONE,
    verdict=Verdict.UP,
    reason="200 OK",
    since=0.0,
    latency=0.002,
    weight=1,
    fallback=False,
    drained=False,
    calls=3,
    registrations=40,
    transactions=1,
    requests={"INVITE": 7, "REGISTER": 80},
    responses={"2xx": 50},
    probes={"ok": 5, "timeout": 1},
    probe_buckets=(0, 4, 1, *[0] * (len(PROBE_BUCKETS) - 2)),
    probe_sum=0.0125,
)
IDLE = BUSY._replace(
    key=TWO,
    verdict=Verdict.STARTING,
    calls=0,
    registrations=0,
    requests={},
    responses={},
    probes=dict.fromkeys(ProbeResult, 0),
    probe_buckets=(0,) * (len(PROBE_BUCKETS) + 1),
    probe_sum=0.0,
)
SERVICE = ServiceSnapshot(
    key=VIRTUAL,
    scheduler="rr",
    servers=(BUSY, IDLE),
    chosen={"binding": 60, "scheduler": 20},
    dropped={"malformed": 2},
    pins={"call": 3, "binding": 40},
    notes=(),
)


def page(*services: ServiceSnapshot) -> Page:
    snapshot = Snapshot(now=100.0, started=0.0, services=services or (SERVICE,), reloads={"ok": 1, "failed": 2})
    edge: dict[str, int | Mapping[str, int]] = {"received": 9, "empty": 0, "send_errors": {"EPERM": 4}}
    return Page(snapshot, edge, kernel_drops={VIRTUAL: 5}, loop_lag=0.004, log_lost=0, pauses=Pauses(2, 7, 0.5, 0.25))


def samples(shown: Page) -> dict[tuple[str, frozenset[str]], float]:
    """(name, label values) -> value."""
    text, _ = render(shown, "text/plain")
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in read_text(text.decode())
        for sample in family.samples
    }


def test_every_name_of_the_interface_with_its_labels() -> None:
    shown = samples(page())
    expected = {
        ("sipbalancer_real_up", VIRTUAL, ONE): 1,
        ("sipbalancer_real_up", VIRTUAL, TWO): 0,
        ("sipbalancer_real_state", VIRTUAL, ONE, "up"): 1,
        ("sipbalancer_real_state", VIRTUAL, ONE, "down"): 0,
        ("sipbalancer_real_state", VIRTUAL, TWO, "starting"): 1,
        ("sipbalancer_probes_total", VIRTUAL, ONE, "timeout"): 1,
        ("sipbalancer_probe_seconds_bucket", VIRTUAL, ONE, "0.001"): 0,
        ("sipbalancer_probe_seconds_bucket", VIRTUAL, ONE, "0.0025"): 4,
        ("sipbalancer_probe_seconds_bucket", VIRTUAL, ONE, "+Inf"): 5,
        ("sipbalancer_probe_seconds_count", VIRTUAL, ONE): 5,
        ("sipbalancer_probe_seconds_sum", VIRTUAL, ONE): 0.0125,
        ("sipbalancer_requests_total", VIRTUAL, ONE, "INVITE"): 7,
        ("sipbalancer_responses_total", VIRTUAL, ONE, "2xx"): 50,
        ("sipbalancer_chosen_total", VIRTUAL, "binding"): 60,
        ("sipbalancer_dropped_total", VIRTUAL, "malformed"): 2,
        ("sipbalancer_pins", VIRTUAL, "call"): 3,
        ("sipbalancer_standby", VIRTUAL): 0,
        ("sipbalancer_calls", VIRTUAL, ONE): 3,
        ("sipbalancer_registrations", VIRTUAL, ONE): 40,
        ("sipbalancer_transactions", VIRTUAL, ONE): 1,
        ("sipbalancer_drain_safe", VIRTUAL, ONE): 0,
        ("sipbalancer_real_full", VIRTUAL, ONE): 0,
        ("sipbalancer_config_reloads_total", "failed"): 2,
        ("sipbalancer_build_info", runs(), __version__): 1,
        ("sipbalancer_edge_received_total",): 9,
        ("sipbalancer_edge_empty_total",): 0,
        ("sipbalancer_edge_send_errors_total", "EPERM"): 4,
        ("sipbalancer_edge_kernel_drops_total", VIRTUAL): 5,
        ("sipbalancer_loop_lag_seconds",): 0.004,
        ("sipbalancer_loop_gaps_total",): 2,
        ("sipbalancer_gc_pause_seconds_count",): 7,
        ("sipbalancer_gc_pause_seconds_sum",): 0.5,
        ("sipbalancer_gc_pause_max_seconds",): 0.25,
        ("sipbalancer_log_lines_lost_total",): 0,
    }
    found = {(name, *labels): shown.get((name, frozenset(labels))) for name, *labels in expected}
    assert found == expected
    assert shown["process_resident_memory_bytes", frozenset()] > 0


def test_a_server_that_did_nothing_yet_is_there() -> None:
    shown = samples(page())
    of_idle = {name for name, labels in shown if TWO in labels}
    assert {
        "sipbalancer_real_up",
        "sipbalancer_real_state",
        "sipbalancer_probes_total",
        "sipbalancer_probe_seconds_bucket",
        "sipbalancer_calls",
        "sipbalancer_registrations",
    } <= of_idle


def test_a_server_listed_twice_is_one_series() -> None:
    text, _ = render(page(SERVICE._replace(servers=(BUSY, IDLE, BUSY._replace(fallback=True)))), "")
    lines = [line for line in text.decode().splitlines() if line.startswith("sipbalancer_calls{") and ONE in line]
    assert len(lines) == 1


def test_a_server_that_drains_tells_when_it_may_be_stopped() -> None:
    busy = BUSY._replace(drain=Drain(True, 2, "", 0.0))
    done = IDLE._replace(drain=Drain(True, None, "", 0.0), transactions=0)
    shown = samples(page(SERVICE._replace(servers=(busy, done))))
    one, two = frozenset((VIRTUAL, ONE)), frozenset((VIRTUAL, TWO))
    assert (shown["sipbalancer_drain_safe", one], shown["sipbalancer_drain_safe", two]) == (0, 1)
    assert shown["sipbalancer_calls_silent", one] == 2
    assert ("sipbalancer_calls_silent", two) not in shown, "not counted yet is no zero"


def test_openmetrics_for_a_scraper_that_asks() -> None:
    text, content_type = render(page(), "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    names = {family.name for family in read_openmetrics(text.decode())}  # type: ignore[no-untyped-call]
    assert {"sipbalancer_requests", "sipbalancer_probe_seconds"} <= names


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing: apt-get install prometheus")
def test_promtool_finds_nothing_to_say() -> None:
    assert PROMTOOL is not None
    draining = BUSY._replace(drain=Drain(True, 2, "", 0.0))
    text, _ = render(page(SERVICE._replace(servers=(draining, IDLE))), "text/plain")
    checked = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, timeout=30, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
