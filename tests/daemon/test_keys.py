from __future__ import annotations

from pathlib import Path

import pytest

from sipbalancer.daemon.keys import make_keys, named_keys, others_may_read, read_keys
from sipbalancer.errors import ConfigError, EnvironmentFault

NEW, OLD = b"\x01" * 32, b"\x02" * 32


def test_a_made_file_is_private_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    keys = make_keys(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(keys[0]) == 32 and read_keys(path) == keys
    assert not others_may_read(path)


def test_made_keys_differ(tmp_path: Path) -> None:
    assert make_keys(tmp_path / "a") != make_keys(tmp_path / "b")


def test_making_never_overwrites(tmp_path: Path) -> None:
    make_keys(tmp_path / "a")
    with pytest.raises(FileExistsError):
        make_keys(tmp_path / "a")


def test_two_keys_newest_first_comments_and_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"# shared with the standby\n\n{NEW.hex()}\n  {OLD.hex().upper()}  \n")
    assert read_keys(path) == (NEW, OLD)


def test_every_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"swordfish\n{NEW.hex()}\nabcd\n")
    with pytest.raises(ConfigError) as caught:
        read_keys(path)
    assert [finding.line for finding in caught.value.findings] == [1, 3]
    assert "64 hex digits" in str(caught.value)
    assert "swordfish" not in str(caught.value), "a secret is never printed"


@pytest.mark.parametrize("text", ["", "# nothing\n", "\n".join([NEW.hex()] * 3)])
def test_none_or_three_keys(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret"
    path.write_text(text)
    with pytest.raises(ConfigError, match="one or two, newest first"):
        read_keys(path)


def test_the_named_file_is_made_when_missing(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    assert named_keys(path) == named_keys(path)


def test_a_named_file_that_cannot_be_made_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="No such file or directory.*readable by this user"):
        named_keys(tmp_path / "missing" / "shared")


def test_a_file_that_others_may_read_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    make_keys(path)
    path.chmod(0o644)
    assert others_may_read(path)
    assert not others_may_read(tmp_path / "missing")
