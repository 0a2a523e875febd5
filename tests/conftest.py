"""In CI nothing real is skipped in silence.

Elsewhere a test that lacks a program skips and says what to install. Where CI is set, that skip is a failure,
save for tests marked `optional` (a program that the archive may have dropped); they are listed as skipped.

Hypothesis judges no example by the time it took (a busy machine is no bug), and in CI draws the same examples every
time: what is red there is red here.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import hypothesis
import pytest

from sipbalancer.compiled import runs

IN_CI = os.environ.get("CI", "") not in ("", "0", "false")

hypothesis.settings.register_profile(
    "sipbalancer", deadline=None, derandomize=IN_CI, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("sipbalancer")


def pytest_configure() -> None:
    """`make test-compiled` must not pass because the source stood before what it was to test."""
    expected = os.environ.get("SIPBALANCER_EXPECT", runs())
    if runs() != expected:
        raise pytest.UsageError(f"SIPBALANCER_EXPECT={expected}, but what is imported is {runs()}")


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that carries the skip's own reason."""
    why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"a test on real programs may not be skipped in CI: {why}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    must_run = item.get_closest_marker("real") and not item.get_closest_marker("optional")
    if IN_CI and must_run and report.skipped and not hasattr(report, "wasxfail"):
        refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that skips itself as a whole has no markers to ask."""
    report = yield
    if IN_CI and report.skipped:
        refuse_skip(report)
    return report
