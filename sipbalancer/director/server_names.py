"""Identities of servers: the small integers pins carry instead of "addr:port". They live in the pin table's header.

A number keeps its name over restarts and reloads, because the pins that carry it do. Numbers are given in order and no
entry is ever freed, so a look at the memory reads only what came since the last one. Other workers may add names to the
same memory; a name or number not known here is looked up there before it is believed missing.
"""

from __future__ import annotations

from collections.abc import Callable

MAX_SERVERS = 4096
_ENTRY = 64
"""One byte of length (0 = free, written last), then the name."""
NAMES_SIZE = MAX_SERVERS * _ENTRY


class ServerNames:
    """Name <-> number, over `NAMES_SIZE` bytes given from outside."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._asked: set[int] = set()
        self._read()

    def number(self, name: str, carried: Callable[[int], bool]) -> int:
        """The number of `name`, a new one on first sight; -1 when all are taken or the name is over 63 bytes long.

        A number changes its name only when all are taken, `carried` says that no pin has it, and it has not been asked
        for here. (Other workers that are running then learn of the new name at their next start.)
        """
        if name not in self._numbers:
            self._read()
        number = self._numbers.get(name, -1)
        if number < 0:
            number = self._add(name, carried)
        if number >= 0:
            self._asked.add(number)
        return number

    def known(self, name: str) -> int:
        """The number of `name`, -1 when it has none yet. Adds nothing."""
        if name not in self._numbers:
            self._read()
        number = self._numbers.get(name, -1)
        if number >= 0:
            self._asked.add(number)
        return number

    def __len__(self) -> int:
        """Numbers given so far, by whomever."""
        self._read()
        return len(self._names)

    def name(self, number: int) -> str:
        """The name of `number`, "" when it has none."""
        if number >= len(self._names):
            self._read()
        return self._names[number] if 0 <= number < len(self._names) else ""

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.release()

    def _read(self) -> None:
        """Learn the names added since the last look."""
        memory = self._memory
        for number in range(len(self._names), MAX_SERVERS):
            at = number * _ENTRY
            length = min(memory[at], _ENTRY - 1)
            if not length:
                return
            name = str(memory[at + 1 : at + 1 + length], "utf-8", "replace")
            self._names.append(name)
            self._numbers.setdefault(name, number)

    def _add(self, name: str, carried: Callable[[int], bool]) -> int:
        text = name.encode()
        if not 0 < len(text) < _ENTRY:
            return -1
        number = len(self._names)
        if number == MAX_SERVERS:
            number = next((n for n in range(MAX_SERVERS) if n not in self._asked and not carried(n)), -1)
            if number < 0:
                return -1
            self._numbers.pop(self._names[number], None)
            self._names[number] = name
            self._numbers[name] = number
        self._write(number, text)
        self._read()
        return number

    def _write(self, number: int, text: bytes) -> None:
        at = number * _ENTRY
        self._memory[at] = 0
        self._memory[at + 1 : at + 1 + len(text)] = text
        self._memory[at] = len(text)
