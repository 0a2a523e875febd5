from __future__ import annotations

import os
from pathlib import Path

import pytest

from sipbalancer.config.services import WELL_KNOWN
from sipbalancer.daemon import file
from sipbalancer.daemon.file import FileWatch, port_names, read_config
from sipbalancer.errors import ConfigError

GOOD = "virtual = 192.0.2.10:5060\n\treal = 192.0.2.1:5060 masq\n"


def test_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "good.cf"
    path.write_text(GOOD)
    config = read_config(path).config
    assert (config.path, config.virtual[0].key) == (str(path), "192.0.2.10:5060")


def test_all_errors_of_a_bad_file_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "bad.cf"
    path.write_text(GOOD + "\tscheduler = fastest\n\treal = nowhere:99999 masq\n")
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    lines = str(caught.value).splitlines()
    assert [line.startswith(f"{path}:{number}: ") for line, number in zip(lines, (3, 4), strict=True)] == [True, True]


def test_old_files_carry_latin_1_in_their_comments(tmp_path: Path) -> None:
    path = tmp_path / "latin.cf"
    path.write_bytes(b"# f\xfcr die Zentrale\n" + GOOD.encode())
    assert len(read_config(path).config.virtual) == 1


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "missing", "no such file or directory"), (tmp_path, "is a directory")):
        with pytest.raises(ConfigError) as caught:
            read_config(path)
        assert str(caught.value) == f"{path}: cannot be read: {reason}"


def test_a_name_that_is_none() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(Path("a\0b"))


def test_a_file_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "LARGEST_FILE", 10)
    path = tmp_path / "long.cf"
    path.write_text(GOOD)
    with pytest.raises(ConfigError, match="larger than"):
        read_config(path)


def test_port_names(tmp_path: Path) -> None:
    services = tmp_path / "services"
    services.write_text("# names\nodd\t\t7000/udp\tstrange queer # comment\nsip 5099/udp\nweb 80/tcp\n")
    names = port_names(services)
    assert (names["odd"], names["strange"], names["queer"]) == (7000, 7000, 7000)
    assert names["sip"] == WELL_KNOWN["sip"], "the built-in names hold"
    assert names["web"] == 80, "ldirectord asks for a real server's port by name alone, whatever the protocol"
    assert "comment" not in names
    assert port_names(tmp_path / "missing") == WELL_KNOWN


def touch(path: Path, seconds: int) -> None:
    os.utime(path, (seconds, seconds))


def test_a_change_is_seen_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    touch(path, 1000)
    watch = FileWatch(path)
    assert not watch.changed()
    path.write_text("two")
    touch(path, 2000)
    assert [watch.changed(), watch.changed()] == [True, False]


def test_a_touch_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    touch(path, 1000)
    watch = FileWatch(path)
    touch(path, 2000)
    assert not watch.changed()


def test_a_replaced_file_of_the_same_time_and_size_is_seen(tmp_path: Path) -> None:
    path, fresh = tmp_path / "file", tmp_path / "fresh"
    path.write_text("one")
    fresh.write_text("two")
    touch(path, 1000)
    touch(fresh, 1000)
    watch = FileWatch(path)
    fresh.replace(path)
    assert watch.changed()


def test_a_missing_file_has_not_changed_until_it_is_back_with_another_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    watch = FileWatch(path)
    path.unlink()
    assert not watch.changed()
    path.write_text("one")
    assert not watch.changed()
    path.write_text("three")
    assert watch.changed()
