"""The pins of a shadow: read, never written."""

from __future__ import annotations

from sipbalancer.director.pins import PinKind, PinTable
from sipbalancer.director.shadow_pins import ShadowPins


def test_expired_pins_are_not_even_freed() -> None:
    memory = bytearray(PinTable.size_for(100))
    pins = PinTable(memory, b"12345678", 0.0)
    number = pins.server_id("x/10.0.0.1:5060")
    pins.put(7, number, PinKind.CALL, 50.0)
    pins.put(8, number, PinKind.CALL, 500.0)
    before = bytes(memory)
    shadow = ShadowPins(pins)
    assert (shadow.get(7, 100.0), shadow.get(8, 100.0), shadow.life(8, 100.0)) == (-1, number, 400.0)
    assert shadow.put(7, number, PinKind.ENDED, 132.0) and shadow.get(7, 100.0) == number
    assert shadow.drop(8) and shadow.get(8, 100.0) == -1 and not shadow.drop(8)
    new = shadow.server_id("x/10.0.0.9:5060")
    assert (shadow.server_id("x/10.0.0.1:5060"), shadow.server_name(new)) == (number, "x/10.0.0.9:5060")
    assert shadow.count(PinKind.CALL, new) == 0 and bytes(memory) == before
