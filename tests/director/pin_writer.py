"""One process of the test of `shared_pins`: hammers a table that is far too small, and says what it saw that was wrong.

`python -m tests.director.pin_writer PINS TALLY NUMBER OF ROUNDS`, the first two as numbers of open files.
"""

from __future__ import annotations

import mmap
import random
import sys

from sipbalancer.daemon.shared_memory import ProcessLock
from sipbalancer.director.pins import PinKind
from sipbalancer.director.seat import Seat
from sipbalancer.director.shared_pins import WorkerPins

NOW = 1_000_000.0
KEYS = 64
SERVERS = 4000


def key_of(number: int) -> int:
    """Spread over all bits, as the keyed hashes are."""
    return (number + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF


def server_of(number: int) -> int:
    """The one server this key may ever be seen with."""
    return number * 61 % SERVERS


def hammer(pins: WorkerPins, dice: random.Random, rounds: int) -> int:
    """Put, drop and get at random; how often a key was seen with another's server."""
    wrong = 0
    for _ in range(rounds):
        number = dice.randrange(KEYS)
        key, server = key_of(number), server_of(number)
        act = dice.random()
        if act < 0.4:
            pins.put(key, server, PinKind.CALL, NOW + 1000)
        elif act < 0.6:
            pins.drop(key)
        wrong += pins.get(key, NOW) not in (-1, server)
    return wrong


def main() -> None:
    pins_file, tally_file, number, of, rounds = map(int, sys.argv[1:])
    pins = mmap.mmap(pins_file, 0)
    tally = mmap.mmap(tally_file, 0)
    table = WorkerPins(pins, tally, Seat(number, of), b"12345678", NOW, ProcessLock(tally_file))
    wrong = hammer(table, random.Random(number), rounds)
    sys.stdout.write(f"{wrong} {table.server_id(f'10.0.0.{number}:5060')}\n")


if __name__ == "__main__":
    main()
