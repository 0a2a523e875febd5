"""Counters and snapshot -> Prometheus text.

The loop takes one `Page` of plain values per scrape; everything here works on that page alone and so runs in a
thread (300 servers take tens of milliseconds to render). Names and labels are an interface: dashboards are built
on them. Every configured server is on the page from the first second, with zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from sipbalancer import __version__
from sipbalancer.compiled import runs
from sipbalancer.daemon.fleet_reports import WorkerShown
from sipbalancer.daemon.loop_lag import Pauses
from sipbalancer.director.snapshot import PROBE_BUCKETS, ServerSnapshot, ServiceSnapshot, Snapshot
from sipbalancer.director.verdict import Verdict

BUCKET_NAMES = (*(str(bound) for bound in PROBE_BUCKETS), "+Inf")
METHODS = dict.fromkeys(("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER"), 0)
"""Shown with zeros before the first came: a counter that begins at 1 hides its first increase from rate()."""
EDGE_HELP = "Datagrams at the sockets: "


class Page(NamedTuple):
    """Everything one scrape shows, taken in one go in the loop."""

    snapshot: Snapshot
    edge: Mapping[str, int | Mapping[str, int]]
    """What the edge counts -> how often, or errno name -> how often."""
    kernel_drops: Mapping[str, int]
    """Address of a socket -> datagrams the kernel dropped there before we could read them."""
    loop_lag: float
    """Seconds, the longest gap of the last thirty to sixty."""
    log_lost: int
    """Log lines that found the queue full."""
    pauses: Pauses = Pauses()
    workers: tuple[WorkerShown, ...] = ()
    """Empty where one process does everything."""


def render(page: Page, accept: str) -> tuple[bytes, str]:
    """The page as text and its content type; `accept` is the scraper's Accept header (OpenMetrics when it asks)."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(PageCollector(page))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class PageCollector(Collector):
    """The one collector: a page in, families out."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def collect(self) -> Iterator[Metric]:
        services = tuple({service.key: service for service in self._page.snapshot.services}.values())
        yield from _servers(services)
        yield from _services(services)
        yield from _edge(self._page)
        yield from _process(self._page)
        yield from _loop(self._page)
        yield from _workers(self._page.workers)


def _each(services: Iterable[ServiceSnapshot]) -> Iterator[tuple[list[str], ServerSnapshot]]:
    """Every server with its labels; a server listed twice (also as fallback) is one series."""
    for service in services:
        for server in {server.key: server for server in reversed(service.servers)}.values():
            yield [service.key, server.key], server


def _servers(services: tuple[ServiceSnapshot, ...]) -> Iterator[Metric]:
    by_server = ["virtual", "real"]
    up = GaugeMetricFamily("sipbalancer_real_up", "1 while the verdict is up.", labels=by_server)
    state = GaugeMetricFamily("sipbalancer_real_state", "1 for the current verdict.", labels=[*by_server, "state"])
    probes = CounterMetricFamily("sipbalancer_probes", "Finished probes by outcome.", labels=[*by_server, "outcome"])
    seconds = HistogramMetricFamily(
        "sipbalancer_probe_seconds", "From a probe's first copy to its answer.", labels=by_server
    )
    requests = CounterMetricFamily(
        "sipbalancer_requests", "Requests forwarded to the server, repeats too.", labels=[*by_server, "method"]
    )
    responses = CounterMetricFamily(
        "sipbalancer_responses", "Responses from the server, by class.", labels=[*by_server, "class"]
    )
    calls = GaugeMetricFamily("sipbalancer_calls", "Calls pinned to the server.", labels=by_server)
    registrations = GaugeMetricFamily(
        "sipbalancer_registrations", "Registrations pinned to the server.", labels=by_server
    )
    drained = _DrainFamilies(by_server)
    for labels, server in _each(services):
        drained.add(labels, server)
        up.add_metric(labels, server.verdict is Verdict.UP)
        for verdict in Verdict:
            state.add_metric([*labels, verdict.value], server.verdict is verdict)
        _spread(probes, labels, server.probes)
        seconds.add_metric(labels, _buckets(server), server.probe_sum)
        _spread(requests, labels, {**METHODS, **server.requests})
        _spread(responses, labels, server.responses)
        calls.add_metric(labels, server.calls)
        registrations.add_metric(labels, server.registrations)
    yield from (up, state, probes, seconds, requests, responses, calls, registrations)
    yield from drained.families


class _DrainFamilies:
    """What tells when a server may be stopped."""

    def __init__(self, by_server: list[str]) -> None:
        self._safe = GaugeMetricFamily(
            "sipbalancer_drain_safe",
            "1 when the server takes nothing new, nothing is left on it for this service, and that is known.",
            labels=by_server,
        )
        self._silent = GaugeMetricFamily(
            "sipbalancer_calls_silent",
            "While it drains: calls without session timer whose last INVITE or UPDATE was answered over an hour ago.",
            labels=by_server,
        )
        self._transactions = GaugeMetricFamily(
            "sipbalancer_transactions", "Forwarded requests without a final answer now.", labels=by_server
        )
        self._full = GaugeMetricFamily(
            "sipbalancer_real_full", "1 while the server is at its upper threshold (u:).", labels=by_server
        )
        self.families = (self._safe, self._silent, self._transactions, self._full)

    def add(self, labels: list[str], server: ServerSnapshot) -> None:
        self._safe.add_metric(labels, server.safe)
        if server.drain.silent is not None:
            self._silent.add_metric(labels, server.drain.silent)
        self._transactions.add_metric(labels, server.transactions)
        self._full.add_metric(labels, server.full)


def _buckets(server: ServerSnapshot) -> list[tuple[str, float]]:
    return list(zip(BUCKET_NAMES, accumulate(server.probe_buckets), strict=True))


def _spread(family: CounterMetricFamily | GaugeMetricFamily, labels: list[str], values: Mapping[str, int]) -> None:
    for name, value in values.items():
        family.add_metric([*labels, str(name)], value)


def _services(services: tuple[ServiceSnapshot, ...]) -> Iterator[Metric]:
    chosen = CounterMetricFamily("sipbalancer_chosen", "Requests by what chose their server.", labels=["virtual", "by"])
    dropped = CounterMetricFamily(
        "sipbalancer_dropped",
        "Datagrams that went nowhere, or were answered with an error of ours.",
        labels=["virtual", "reason"],
    )
    pins = GaugeMetricFamily("sipbalancer_pins", "Choices remembered now.", labels=["virtual", "kind"])
    standby = GaugeMetricFamily(
        "sipbalancer_standby", "1 while the virtual address is not on this host.", labels=["virtual"]
    )
    for service in services:
        _spread(chosen, [service.key], service.chosen)
        _spread(dropped, [service.key], service.dropped)
        _spread(pins, [service.key], service.pins)
        standby.add_metric([service.key], service.standby)
    yield from (chosen, dropped, pins, standby)


def _edge(page: Page) -> Iterator[Metric]:
    for name, count in page.edge.items():
        title, help_text = f"sipbalancer_edge_{name}", f"{EDGE_HELP}{name.replace('_', ' ')}."
        if isinstance(count, int):
            yield CounterMetricFamily(title, help_text, value=count)
        else:
            by_error = CounterMetricFamily(title, help_text, labels=["error"])
            _spread(by_error, [], count)
            yield by_error
    drops = CounterMetricFamily(
        "sipbalancer_edge_kernel_drops",
        f"{EDGE_HELP}dropped by the kernel before we could read them.",
        labels=["virtual"],
    )
    _spread(drops, [], page.kernel_drops)
    yield drops


def _process(page: Page) -> Iterator[Metric]:
    reloads = CounterMetricFamily("sipbalancer_config_reloads", "Reloads of the file by result.", labels=["result"])
    _spread(reloads, [], page.snapshot.reloads)
    build = GaugeMetricFamily(
        "sipbalancer_build_info", "Always 1; the labels say what it is.", labels=["version", "runs"]
    )
    build.add_metric([__version__, runs()], 1)
    lost = CounterMetricFamily(
        "sipbalancer_log_lines_lost", "Log lines lost because their place was too slow.", value=page.log_lost
    )
    yield from (reloads, build, lost)


def _loop(page: Page) -> Iterator[Metric]:
    """Everything waits as long: datagrams, probes, timers."""
    lag = GaugeMetricFamily(
        "sipbalancer_loop_lag_seconds", "Longest gap of the event loop in the last thirty to sixty seconds."
    )
    lag.add_metric([], page.loop_lag)
    gaps = CounterMetricFamily(
        "sipbalancer_loop_gaps", "Gaps of the event loop of more than 20 ms.", value=page.pauses.gaps
    )
    pause = SummaryMetricFamily("sipbalancer_gc_pause_seconds", "Pauses of the garbage collector.")
    pause.add_metric([], page.pauses.collections, page.pauses.collecting)
    longest = GaugeMetricFamily(
        "sipbalancer_gc_pause_max_seconds",
        "Longest pause of the garbage collector in the last thirty to sixty seconds.",
    )
    longest.add_metric([], page.pauses.longest_collection)
    yield from (lag, gaps, pause, longest)


def _workers(workers: Iterable[WorkerShown]) -> Iterator[Metric]:
    """Only where there are workers: with one process all of this is the process's own."""
    shown = list(workers)
    if not shown:
        return
    by_worker = ["worker"]
    up = GaugeMetricFamily("sipbalancer_worker_up", "1 while a process holds the place.", labels=by_worker)
    restarts = CounterMetricFamily(
        "sipbalancer_worker_restarts", "Workers that died and were replaced.", labels=by_worker
    )
    messages = CounterMetricFamily("sipbalancer_worker_messages", "Datagrams received, by worker.", labels=by_worker)
    cpu = GaugeMetricFamily("sipbalancer_worker_cpu", "Share of a core over the last second.", labels=by_worker)
    for each in shown:
        label = [str(each.number)]
        up.add_metric(label, each.pid > 0)
        restarts.add_metric(label, each.restarts)
        messages.add_metric(label, each.messages)
        cpu.add_metric(label, each.cpu)
    yield from (up, restarts, messages, cpu)
