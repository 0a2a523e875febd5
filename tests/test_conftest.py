"""The gate of CI: a skipped real test fails there, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = (Path(__file__).parent / "conftest.py").read_text(encoding="utf-8")
MARKERS = "[pytest]\nmarkers =\n    real: x\n    optional: x\nfilterwarnings = error\n"
TESTS = """
import pytest

@pytest.mark.real
def test_real():
    pytest.skip("install sipp")

@pytest.mark.real
@pytest.mark.skipif(True, reason="install baresip")
def test_real_by_mark():
    pass

@pytest.mark.real
@pytest.mark.optional
def test_optional():
    pytest.skip("the archive dropped it")

@pytest.mark.real
@pytest.mark.xfail(reason="not yet")
def test_expected_to_fail():
    assert False

def test_unit():
    pytest.skip("needs Linux")
"""
WHOLE_MODULE = "import pytest\npytest.skip('install sipp', allow_module_level=True)\n"


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("CI", raising=False)
    pytester.makeini(MARKERS)
    pytester.makeconftest(CONFTEST)
    return pytester


def test_elsewhere_a_real_test_may_skip(run: pytest.Pytester) -> None:
    run.makepyfile(TESTS)
    run.runpytest().assert_outcomes(skipped=4, xfailed=1)


def test_in_ci_a_skipped_real_test_fails_and_says_why(run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    run.makepyfile(TESTS)
    result = run.runpytest()
    result.assert_outcomes(failed=1, errors=1, skipped=2, xfailed=1)
    result.stdout.fnmatch_lines_random(
        ["*may not be skipped in CI: *install sipp", "*may not be skipped in CI: *baresip"]
    )


def test_in_ci_a_module_may_not_skip_itself(run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    run.makepyfile(WHOLE_MODULE)
    run.runpytest().assert_outcomes(skipped=1)
    monkeypatch.setenv("CI", "true")
    run.runpytest().assert_outcomes(errors=1)
