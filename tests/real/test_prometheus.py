"""What the balancer shows is what Prometheus and its own checker take."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.pool import Phones, available, registered
from tests.real.programs import METRICS_PORT, Balancer, Process, eventually, program

LISTEN = "127.0.0.9:9090"


def test_promtool_finds_nothing_to_say(balancer: Balancer) -> None:
    available("promtool")
    text = balancer.scrape()
    assert "sipbalancer_real_up" in text
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def prometheus(balancer: Balancer, folder: Path) -> Iterator[Process]:
    available("prometheus")
    target = f"{balancer.address}:{METRICS_PORT}"
    job = {"job_name": "sipbalancer", "scrape_interval": "500ms", "static_configs": [{"targets": [target]}]}
    (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": [job]}))  # JSON is YAML
    command = [program("prometheus"), f"--config.file={folder}/prometheus.yml", f"--web.listen-address={LISTEN}"]
    process = Process([*command, f"--storage.tsdb.path={folder}/data"], folder / "prometheus.txt")
    yield process
    process.end()


def test_a_real_prometheus_scrapes_it(prometheus: Process, balancer: Balancer, phones: Phones) -> None:
    registered(phones.phone())
    eventually("up", lambda: values("up") == ["1"], 15)
    assert values("sipbalancer_real_up") == ["1"] * len(balancer.servers)
    eventually("a registration is seen", lambda: float(values("sum(sipbalancer_registrations)")[0]) >= 1)
    eventually("a request is seen", lambda: float(values('sum(sipbalancer_requests_total{method="REGISTER"})')[0]) >= 2)


def values(expression: str) -> list[str]:
    """What Prometheus answers to a query, one value per series."""
    try:
        with urllib.request.urlopen(
            f"http://{LISTEN}/api/v1/query?query={urllib.parse.quote(expression)}", timeout=2
        ) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    except OSError:
        return []
    return [series["value"][1] for series in result]
