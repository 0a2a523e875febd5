"""Tables and pictures are made from rows alone: what has no valid rows has no number and no ratio."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import table
from bench.flat_rows import CostRow, MemoryRow
from bench.flat_table import flat_cost, flat_memory
from bench.kept import Kept
from bench.plots import panels
from bench.pool_rows import PoolRow, pool_table
from bench.programs import FORWARD, FORWARD_8, OURS, OURS_2, OURS_C, T_RELAY
from bench.rows import Row, newest, read_as, write
from bench.speed_table import render
from bench.worker_rows import APART, ONE, TWO, WorkerRow, worker_table
from tests.bench.test_run import row

ROOT = Path(__file__).parent.parent.parent
WHERE = ("t", "c", "p", "m", "k")


class Some(Kept):
    """Rows of a test."""

    def __init__(self, speed: list[Row] | None = None, flat: list[CostRow] | None = None) -> None:
        self.speed, self.flat, self.memory, self.pool, self.overload = speed or [], flat or [], [], [], []
        self.workers = []


def cost(number: int, registrations: int, servers: int, cpu_us: float, void: str = "") -> CostRow:
    return CostRow(*WHERE, number, registrations, servers, "register", cpu_us, 1.0, 0.5, 0, 0, void)


def pool_row(way: str, mix: str, completed: int) -> PoolRow:
    return PoolRow(*WHERE, 1, way, mix, 48, 2.0, completed, 0, 1.0, 2.0, 1.5, 0.1, 0.2, 0.0, 0.3, 0.4)


def opened(program: str, number: int, offered: float, p50_us: float, void: str = "") -> Row:
    return row(program, loop="open", in_flight=0, round=number, offered=offered, p50_us=p50_us, void=void)


def test_the_readme_is_what_the_script_makes_of_the_kept_rows() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert table.written(text, table.short(Kept())) == text


def test_only_what_is_between_the_markers_changes() -> None:
    text = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    assert table.written(text, "new\n") == f"before\n{table.BEGIN}\n\nnew\n\n{table.END}\nafter\n"
    with pytest.raises(ValueError, match="no place for the table"):
        table.written("nothing", "new\n")


def test_a_file_without_markers_is_an_error_of_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.md"
    file.write_text("text\n")
    assert table.main(["--write", str(file)]) == 1
    assert "no place for the table" in capsys.readouterr().err
    assert file.read_text() == "text\n"


def test_the_comparison_is_with_the_better_kamailio() -> None:
    rows = [row(OURS, cpu_us=10.0), row(FORWARD, cpu_us=20.0), row(FORWARD_8, cpu_us=5.0)]
    assert f"| {FORWARD} | 2.00 | no ratio |" in table.short(Some(rows))
    assert f"| {FORWARD} | 0.50 | no ratio |" in table.short(Some(rows[:2]))


def test_a_void_peer_gives_no_ratio_and_a_void_cell() -> None:
    text = table.short(Some([row(OURS, cpu_us=10.0), row(FORWARD, void="its core was less than 95% busy")]))
    assert f"| {FORWARD} | void | void | void |" in text
    assert f"| {FORWARD} | no ratio | no ratio |" in text
    assert T_RELAY in text and "not measured" not in text


def test_two_workers_are_compared_with_one_and_scaling_is_not_claimed() -> None:
    text = render([row(OURS, cpu_us=10.0), row(OURS_2, cpu_us=11.0)])
    assert "2 workers : 1 = 1.10 in CPU per message" in text and "Scaling over cores: not measured" in text
    assert "2 workers : 1" not in render([row(OURS), row(OURS_2, void="wrong messages")])


def test_latency_is_compared_round_by_round_under_the_same_load() -> None:
    rows = [row(OURS), row(FORWARD)]
    rows += [opened(FORWARD, 1, 100.0, 10.0), opened(OURS, 1, 100.0, 30.0)]
    rows += [opened(FORWARD, 2, 200.0, 100.0), opened(OURS, 2, 200.0, 100.0), opened(OURS, 2, 300.0, 1.0)]
    rows += [opened(FORWARD, 3, 200.0, 1.0), opened(OURS, 3, 200.0, 9.0, void="wrong messages")]
    assert f"| {FORWARD} | 1.00 | no ratio | 1.00 | no ratio | 2.00 |" in table.short(Some(rows))


def test_a_bed_is_set_against_the_smallest_of_its_own_round() -> None:
    rows = [cost(1, 1000, 3, 10.0), cost(1, 100_000, 3, 11.0), cost(2, 1000, 3, 20.0), cost(2, 100_000, 3, 20.0)]
    rows += [cost(3, 1000, 3, 1.0, "wrong messages"), cost(3, 100_000, 3, 100.0)]
    lines = list(flat_cost(rows))
    assert lines[2].startswith("| 1,000 | 3 | 15.0 [10.0-20.0] | 1.00 |")
    assert lines[3].startswith("| 100,000 | 3 | 20.0 [11.0-100.0] | 1.05 |")
    assert len(lines) == 4


def test_servers_are_compared_at_the_same_number_of_registrations() -> None:
    rows = [cost(1, 1000, 3, 5.0), cost(1, 100_000, 3, 10.0), cost(1, 100_000, 300, 12.0)]
    assert [line.split(" | ")[3] for line in flat_cost(rows) if "300" in line] == ["1.20"]


def test_memory_says_between_which_counts() -> None:
    (line,) = list(flat_memory([MemoryRow(*WHERE, "all", 100, 1100, 500.0, "how")]))[2:]
    assert line == "| all | 500 | 100 to 1,100: how |"


def test_the_pool_with_one_way_says_the_other_was_not_measured() -> None:
    lines = list(pool_table([pool_row("direct", "register", 1000), pool_row("sipbalancer", "call", 500)]))
    assert lines[2] == "| direct | 500 [500-500] | not measured | 3.00 | not measured | 0 |"
    assert lines[3] == "| sipbalancer | not measured | 250 [250-250] | not measured | 6.00 | 0 |"


def test_each_question_that_has_rows_is_a_picture() -> None:
    flat = [cost(1, 1000, 3, 5.0), cost(1, 100_000, 3, 10.0), cost(1, 100_000, 300, 12.0)]
    found = {panel.name: panel for panel in panels(Some([row(OURS, cpu_us=9.0), row(FORWARD, void="void")], flat))}
    assert set(found) == {"cpu", "rate", "latency", "registrations", "servers"}
    ours, theirs = found["cpu"].series["REGISTER"]
    assert ours is not None and ours.value == 9.0 and theirs is None
    assert found["servers"].groups == ("3", "300")


def test_rows_of_any_kind_are_read_as_they_were_written(tmp_path: Path) -> None:
    kept = [cost(1, 1000, 3, 5.25), cost(2, 1000, 3, 5.5, "void")]
    write(tmp_path / "flat-1.tsv", kept)
    assert list(read_as(tmp_path / "flat-1.tsv", CostRow)) == kept
    with pytest.raises(ValueError, match="columns of another version"):
        list(read_as(tmp_path / "flat-1.tsv", MemoryRow))


def test_the_newest_rows_are_those_of_the_last_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.rows.RESULTS", tmp_path)
    assert newest("flat") is None
    for name in ("flat-2026-11-21T010000Z-b.tsv", "flat-2026-11-21T020000Z-a.tsv", "speed-2027.tsv"):
        (tmp_path / name).touch()
    assert newest("flat") == tmp_path / "flat-2026-11-21T020000Z-a.tsv"


def test_workers_are_set_against_one_process_round_by_round() -> None:
    def kept(number: int, way: str, cpu_us: float, least: float = 0.0, void: str = "") -> WorkerRow:
        most = 1 - least if least else 0.0
        return WorkerRow(*WHERE, number, way, "register", 1000, 256, cpu_us, 1.0, least, most, 0, 0, void)

    rows = [kept(1, ONE, 10.0), kept(1, TWO, 12.0, 0.48), kept(1, APART, 11.0)]
    rows += [kept(2, ONE, 20.0), kept(2, TWO, 22.0, 0.47), kept(2, APART, 99.0, void="wrong messages")]
    lines = list(worker_table(rows))
    assert "| one process | 15.0 | 1.00 [1.00-1.00] | void | no ratio |  |" in lines
    assert "| 2 workers | 17.0 | 1.15 [1.10-1.20] | void | no ratio | 47.0% to 53.0% |" in lines
    assert "| two balancers that share nothing | 11.0 | 1.10 [1.10-1.10] | void | no ratio |  |" in lines
    assert "not measured" in lines[-1]


def test_the_compiled_program_has_a_row_and_ratios_of_its_own() -> None:
    rows = [row(OURS, cpu_us=10.0), row(OURS_C, cpu_us=5.0), row(FORWARD, cpu_us=20.0)]
    rows += [opened(FORWARD, 1, 100.0, 10.0), opened(OURS, 1, 100.0, 30.0), opened(OURS_C, 1, 100.0, 20.0)]
    lines = table.short(Some(rows)).splitlines()
    own = [number for number, line in enumerate(lines) if line.startswith(f"| {OURS_C}")]
    assert len(own) == 2 and lines[own[0] - 1].startswith(f"| {OURS} |"), "its row follows that of the default"
    assert lines[own[1] + 2].startswith(f"| {FORWARD} | 0.25 | no ratio | 1.00 | no ratio | 2.00 |")
    assert f"{OURS_C} : {FORWARD} = 0.25" in render(rows) and OURS_C not in table.short(Some([rows[0], rows[2]]))
    latency = next(panel for panel in panels(Some(rows)) if panel.name == "latency")
    assert latency.series[OURS_C][0] is not None
