from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipbalancer.config.model import Config
from sipbalancer.daemon.state import State, key_check, open_state
from sipbalancer.director.epoch import BEGINNING
from sipbalancer.director.pins import PinKind
from sipbalancer.errors import ConfigError, EnvironmentFault

NOW = 1_700_000_000.0


@pytest.fixture
def opened() -> Iterator[list[State]]:
    states: list[State] = []
    yield states
    for state in states:
        state.close()


def config(folder: Path, secret: str = "") -> Config:
    return Config(state=str(folder), secret=secret, registrations=100, calls=10)


def test_a_new_folder_has_all_it_needs(tmp_path: Path, opened: list[State]) -> None:
    folder = tmp_path / "var" / "state"
    state = open_state(config(folder))
    opened.append(state)
    assert state.warnings == []
    assert state.contacts == folder / "contacts.db"
    assert len(state.keys) == 1
    assert (folder / "pins").stat().st_mode & 0o777 == 0o600
    assert (folder / "lock").read_text() == f"{os.getpid()}\n"


def test_keys_and_pins_survive_a_restart(tmp_path: Path) -> None:
    keys = []
    for server in (-1, 0):
        state = open_state(config(tmp_path))
        keys.append(state.keys)
        pins = state.pin_table(NOW)
        assert pins.get(77, NOW) == server
        pins.put(77, pins.server_id("192.0.2.1:5060"), PinKind.BINDING, NOW + 100)
        pins.close()
        state.close()
        assert state.warnings == []
    assert keys[0] == keys[1]


def test_pins_of_another_size_start_empty_and_say_so(tmp_path: Path) -> None:
    first = open_state(config(tmp_path))
    first.pin_table(NOW).close()
    first.close()
    state = open_state(Config(state=str(tmp_path), registrations=10_000, calls=0))
    state.pin_table(NOW).close()
    state.close()
    assert len(state.warnings) == 1 and "start empty (made with" in state.warnings[0]


def test_a_second_balancer_is_refused(tmp_path: Path, opened: list[State]) -> None:
    opened.append(open_state(config(tmp_path)))
    with pytest.raises(EnvironmentFault, match=f"in use by another balancer \\(process {os.getpid()}\\)"):
        open_state(config(tmp_path))


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path: Path, opened: list[State]) -> None:
    (tmp_path / "file").touch()
    state = open_state(config(tmp_path / "file" / "state"))
    opened.append(state)
    assert state.contacts is None
    assert len(state.keys) == 1
    assert state.memory is not None
    state.pin_table(NOW).close()
    text = "\n".join(state.warnings)
    assert "a restart forgets which server each registration and call is on" in text
    assert "not recognised after it" in text
    assert f"name a folder that this user (uid {os.geteuid()}) may write" in text


def test_pins_that_are_no_file_are_a_warning_of_their_own(tmp_path: Path, opened: list[State]) -> None:
    (tmp_path / "pins").mkdir()
    state = open_state(config(tmp_path))
    opened.append(state)
    assert state.contacts == tmp_path / "contacts.db"
    assert len(state.warnings) == 1 and "a restart forgets" in state.warnings[0]


def test_a_link_in_place_of_the_pins_is_not_followed(tmp_path: Path, opened: list[State]) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "pins").symlink_to(victim)
    opened.append(open_state(config(tmp_path / "state")))
    assert victim.read_text() == "precious"


def test_the_named_secret_is_used(tmp_path: Path, opened: list[State]) -> None:
    shared = tmp_path / "shared"
    shared.write_text("ab" * 32 + "\n")
    state = open_state(config(tmp_path / "state", str(shared)))
    opened.append(state)
    assert state.keys == (b"\xab" * 32,)
    assert not (tmp_path / "state" / "secret").exists()


def test_a_secret_everybody_may_read_is_a_warning(tmp_path: Path, opened: list[State]) -> None:
    shared = tmp_path / "shared"
    shared.write_text("ab" * 32 + "\n")
    shared.chmod(0o644)
    opened.append(open_state(config(tmp_path / "state", str(shared))))
    assert opened[0].warnings == [f"{shared}: every user of this host may read the keys: chmod 600 {shared}"]


def test_a_secret_that_is_none_gives_the_folder_back(tmp_path: Path, opened: list[State]) -> None:
    (tmp_path / "secret").write_text("swordfish\n")
    with pytest.raises(ConfigError, match="secret:1: secret: not a key"):
        open_state(config(tmp_path))
    (tmp_path / "secret").unlink()
    opened.append(open_state(config(tmp_path)))


def test_the_key_check_tells_keys_apart() -> None:
    assert len(key_check(b"\x01" * 32)) == 8
    assert key_check(b"\x01" * 32) != key_check(b"\x02" * 32)


def test_a_start_with_the_clock_of_1970_keeps_the_pins_and_so_does_the_next(tmp_path: Path) -> None:
    lives = []
    for wall in (NOW, 30.0, NOW + 7200):
        state = open_state(config(tmp_path))
        epoch = state.epoch(wall)
        pins = state.pin_table(epoch.now)
        if wall == NOW:
            pins.put(1, pins.server_id("192.0.2.1:5060"), PinKind.BINDING, NOW + 3600)
        lives.append((round(pins.life(1, epoch.now)), bool(epoch.told)))
        state.mark(epoch.now + 100, wall + 100)
        pins.close()
        state.close()
    assert lives == [(3600, False), (3500, True), (3400, True)]


def test_a_first_start_is_told_from_a_loss_also_later(tmp_path: Path) -> None:
    def starts() -> bool:
        state = open_state(config(tmp_path))
        state.pin_table(NOW).close()
        state.close()
        return state.first_start

    assert [starts(), starts()] == [True, True]
    (tmp_path / "pins").unlink()
    assert [starts(), starts()] == [False, False], "the secret is there: this folder has been used"


def test_what_an_operator_vouches_for_is_kept(tmp_path: Path) -> None:
    births = []
    for _ in range(2):
        state = open_state(config(tmp_path))
        pins = state.pin_table(NOW)
        births.append(pins.born)
        state.vouch()
        pins.close()
        state.close()
    assert births == [NOW, BEGINNING]
