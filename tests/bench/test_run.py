"""The runner without a measurement: what it would do, what it says is missing, which rows it voids."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import load, rows
from bench.programs import FORWARD, OURS, PROGRAMS, bound
from bench.rows import Row, why_void
from bench.run import main
from bench.speed_table import render


def row(program: str, mix: str = "register", cpu_us: float = 10.0, void: str = "", **words: object) -> Row:
    values: dict[str, object] = {name: 1 for name in rows.NAMES}
    values |= dict.fromkeys(("time", "commit", "python", "machine", "kernel", "version", "note"), "x")
    values |= {"program": program, "mix": mix, "loop": "closed", "in_flight": 256, "cpu_us": cpu_us, "void": void}
    return Row(**{**values, **words})  # type: ignore[arg-type]


def test_dry_names_every_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--dry"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 rounds, 0.5 s each")
    assert [line.split("\t")[0] for line in lines[1:]] == [program.name for program in PROGRAMS]


def test_dry_says_what_is_missing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("bench.programs._which", lambda program: None)
    assert "gcc is missing" in load.missing()
    assert main(["--dry"]) == 0
    captured = capsys.readouterr()
    assert "kamailio is missing: apt-get install kamailio" in captured.out
    assert "gcc is missing" in captured.err
    assert f"{OURS}\tready" in captured.out


@pytest.mark.parametrize(
    ("loop", "in_flight", "busy", "idle", "messages", "wrong", "why"),
    [
        ("closed", 256, 0.99, 0.3, 1000, 0, ""),
        ("closed", 256, 0.90, 0.3, 1000, 0, "its core was"),
        ("closed", 64, 0.90, 0.3, 1000, 0, ""),
        ("open", 0, 0.40, 0.1, 1000, 0, "idle outside"),
        ("closed", 1, 0.40, 0.5, 0, 0, "nothing was forwarded"),
        ("closed", 256, 0.99, 0.3, 1000, 1, "wrong messages"),
    ],
)
def test_void(loop: str, in_flight: int, busy: float, idle: float, messages: int, wrong: int, why: str) -> None:
    said = why_void(loop, in_flight, busy, idle, messages, wrong)
    assert why in said
    assert bool(said) == bool(why)


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    kept = [row(OURS, cpu_us=9.5), row(FORWARD, void="why not", note="tab\there")]
    rows.write(tmp_path / "a.tsv", kept)
    first, second = rows.read(tmp_path / "a.tsv")
    assert first == kept[0]
    assert (second.void, second.note) == ("why not", "tab here")


def test_table_has_medians_and_a_ratio() -> None:
    text = render([row(OURS, cpu_us=value) for value in (8.0, 9.0, 30.0)] + [row(FORWARD, cpu_us=18.0)])
    assert "| sipbalancer | 9.0 [8.0-30.0] |" in text
    assert "sipbalancer : kamailio forward() = 0.50 in CPU per message" in text


def test_table_prints_no_ratio_without_the_peer() -> None:
    text = render([row(OURS), row(FORWARD, void="its core was less than 95% busy")])
    assert "sipbalancer : kamailio forward(): no ratio" in text
    assert "- kamailio t_relay(): not measured." in text
    assert "1 of 2 rows are void" in text


@pytest.mark.skipif(bool(load.missing()), reason="gcc is missing: apt-get install gcc libc6-dev")
def test_load_compiles(tmp_path: Path) -> None:
    assert load.build(tmp_path).is_file()


@pytest.mark.skipif(bool(load.missing()), reason="gcc is missing: apt-get install gcc libc6-dev")
def test_bound_compiles(tmp_path: Path) -> None:
    assert Path(bound(tmp_path)[0]).is_file()
