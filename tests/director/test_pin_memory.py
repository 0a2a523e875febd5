"""What may be believed of the memory a table is opened in."""

from __future__ import annotations

import pytest

from sipbalancer.director.pins import PinKind, PinTable

CHECK = b"checksum"
NOW = 1_700_000_000.0
CALL, BINDING, ENDED = PinKind.CALL, PinKind.BINDING, PinKind.ENDED


def test_another_secret_version_size_or_content_starts_empty_and_says_so() -> None:
    def reopened(memory: bytearray, check: bytes = CHECK) -> PinTable:
        pins = PinTable(memory, check, NOW)
        assert not pins.loaded
        assert pins.get(1, NOW) == -1
        assert pins.total(CALL) == 0
        assert pins.server_name(0) == ""
        assert PinTable(memory, check, NOW).loaded, "what started empty is a good table from then on"
        return pins

    def used() -> bytearray:
        memory = bytearray(PinTable.size_for(100))
        pins = PinTable(memory, CHECK, NOW)
        pins.put(1, pins.server_id("10.0.0.1:5060"), CALL, NOW + 60)
        return memory

    assert reopened(used(), b"another!").why_empty == "made under another secret"
    assert reopened(used() + bytes(8000)).why_empty == "made with 256 slots, now 512"
    older, foreign = used(), used()
    older[8] = 9
    foreign[0] = 0x7F
    assert reopened(older).why_empty == "written by version 9 of the pin table, this is version 1"
    assert reopened(foreign).why_empty == "not a pin table"
    cleared_halfway = used()
    cleared_halfway[:8] = bytes(8)
    assert reopened(cleared_halfway).why_empty == ""


def test_memory_that_cannot_do_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="at least"):
        PinTable(bytearray(1000), CHECK, NOW)
    with pytest.raises(ValueError, match="8 needed"):
        PinTable(bytearray(PinTable.size_for(1)), b"short", NOW)
    with pytest.raises((TypeError, ValueError)):
        PinTable(bytes(PinTable.size_for(1)), CHECK, NOW)
