"""Readers: the text of one value to a typed value, or None after saying what to write instead.

A reader for one of ldirectord's words is as lenient as ldirectord (the first digits of `3s`, the first word of
`udp # why`), and says so; a reader for a word of ours is strict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from ipaddress import IPv4Address
from typing import TypeAlias, TypeVar

from sipbalancer.config.findings import Cell, nearest, shown

Value: TypeAlias = object
Reader: TypeAlias = Callable[[Cell], Value | None]
Whole: TypeAlias = Callable[[Cell], int | None]
Word = TypeVar("Word", bound=StrEnum)

_QUOTED = re.compile(r'"(.*?)"[ \t]*$', re.DOTALL)
_DIGITS = re.compile(r"[0-9]+")
_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_DURATION = re.compile(r"([0-9]{1,9})[ \t]*(s|sec|m|min|h|d)")
_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_HEADER = re.compile(r"[A-Za-z0-9!%*_+`'~.-]+")
_MOST = 2_000_000_000
_SOCKET_PATH = 107

_NOT_FOR_CLIENTHEADER = frozenset(
    "accept allow authorization call-id contact content-length content-type cseq expires from max-forwards min-se path"
    " proxy-authorization proxy-require record-route require route session-expires subject supported to via".split()
)


def unquoted(cell: Cell) -> str | None:
    """The text without its quotes; what follows the closing quote is ignored with a warning."""
    text = cell.text
    if not text.startswith('"'):
        return text
    match = _QUOTED.fullmatch(text)
    if match:
        return match[1]
    inner, quote, rest = text[1:].rpartition('"')
    if not quote:
        cell.wrong(f'the closing quote is missing; write {cell.word} = "{shown(text[1:])}"')
        return None
    cell.doubt(f"`{shown(rest.strip())}` after the closing quote is ignored")
    return inner


def text(cell: Cell) -> str | None:
    """Any text that is not empty, quoted or bare."""
    value = unquoted(cell)
    if value == "":
        cell.wrong(f"nothing is written after `=`; write {cell.word} = VALUE or remove the line")
        return None
    return value


def free_text(cell: Cell) -> str | None:
    """Text for people, quotes and all, as ldirectord keeps it; may be empty."""
    return cell.text


def yes_no(cell: Cell) -> bool | None:
    value = first_word(cell)
    if value in ("yes", "no"):
        return value == "yes"
    if value is not None:
        hint = {"yes": "yes", "true": "yes", "on": "yes", "1": "yes"}.get(value.lower(), "no")
        cell.wrong(f"`{shown(value)}` is neither yes nor no; write {cell.word} = {hint}")
    return None


def first_word(cell: Cell) -> str | None:
    """One word; more words are ignored with a warning, as ldirectord ignores them in silence."""
    value = text(cell)
    words = value.split() if value is not None else []
    if value is not None and not words:
        cell.wrong(f"nothing is written after `=`; write {cell.word} = VALUE or remove the line")
    if len(words) > 1:
        cell.doubt(f"`{shown(' '.join(words[1:]))}` after `{shown(words[0])}` is ignored")
    return words[0] if words else None


def one_of(cell: Cell, value: str, known: Iterable[str]) -> bool:
    """Whether `value` is among the known words; says which ones there are when not."""
    known = tuple(known)
    if value in known:
        return True
    cell.wrong(f"`{shown(value)}` is not one of {', '.join(known)}{nearest(value, known)}")
    return False


def word_of(enum: type[Word]) -> Reader:
    """A reader for one word of an enumeration."""

    def read(cell: Cell) -> Word | None:
        value = first_word(cell)
        if value is None or not one_of(cell, value, (member.value for member in enum)):
            return None
        return enum(value)

    return read


def count(least: int, most: int = _MOST) -> Whole:
    """A reader for a whole number as ldirectord reads one: the first digits of the text."""

    def read(cell: Cell) -> int | None:
        value = text(cell)
        return None if value is None else _first_number(cell, value, least, most)

    return read


def seconds(least: int) -> Reader:
    """A reader for one of ldirectord's time limits: seconds, fractions allowed here."""

    def read(cell: Cell) -> float | None:
        value = text(cell)
        if value is None:
            return None
        if _DECIMAL.fullmatch(value) and "." in value and len(value) < 16:
            cell.note(f"`{value}` seconds here; ldirectord reads {value.partition('.')[0]}")
            return _fraction(cell, float(value), least)
        number = _first_number(cell, value, least, _MOST)
        return None if number is None else float(number)

    return read


def _fraction(cell: Cell, number: float, least: int) -> float | None:
    if number > 0 or least <= 0:
        return number
    cell.wrong(f"must be more than 0; write {cell.word} = {least}")
    return None


def _first_number(cell: Cell, value: str, least: int, most: int) -> int | None:
    match = _DIGITS.search(value)
    if match is None:
        cell.wrong(f"`{shown(value)}` is not a number; write {cell.word} = {max(least, 1)}")
        return None
    number = _within(cell, match[0], least, most)
    if number is not None and match[0] != value:
        cell.doubt(
            f"`{shown(value)}` is read as {number}, as ldirectord does; write {_rewritten(cell.word, value, number)}"
        )
    return number


def _within(cell: Cell, digits: str, least: int, most: int) -> int | None:
    if len(digits) > 10 or int(digits) > most:
        cell.wrong(f"{shown(digits)} is too large; the most is {most}")
        return None
    if int(digits) < least:
        cell.wrong(f"{int(digits)} is too small; the least is {least}")
        return None
    return int(digits)


def _rewritten(word: str, value: str, number: int) -> str:
    meant = _meant(value)
    if meant in ("", str(number)):
        return f"{word} = {number}"
    return f"{word} = {meant} if {value} was meant, else {word} = {number}"


def _meant(value: str) -> str:
    """`5m` in seconds, as text; empty when the value is no duration with a unit."""
    match = _DURATION.fullmatch(value.strip())
    return str(int(match[1]) * _UNITS[match[2]]) if match else ""


def own_count(least: int, most: int = _MOST) -> Whole:
    """A reader for a whole number of ours: digits only."""

    def read(cell: Cell) -> int | None:
        value = text(cell)
        if value is None:
            return None
        if not _DIGITS.fullmatch(value):
            cell.wrong(f"`{shown(value)}` is not a whole number; write {cell.word} = {_meant(value) or max(least, 1)}")
            return None
        return _within(cell, value, least, most)

    return read


def own_seconds(cell: Cell) -> float | None:
    """A time of ours in seconds, 0 or more, fractions allowed."""
    value = text(cell)
    if value is None:
        return None
    if not _DECIMAL.fullmatch(value) or len(value) > 10:
        cell.wrong(f"`{shown(value)}` is not a number of seconds; write {cell.word} = {_meant(value) or 30}")
        return None
    return float(value)


def path(cell: Cell) -> str | None:
    """An absolute path."""
    value = text(cell)
    if value is None or value.startswith("/"):
        return value
    cell.wrong(f'`{shown(value)}` is not an absolute path; write {cell.word} = "/..."')
    return None


def socket_path(cell: Cell) -> str | None:
    """An absolute path short enough for a unix socket."""
    value = path(cell)
    if value is not None and len(value.encode()) > _SOCKET_PATH:
        cell.wrong(f"is longer than the {_SOCKET_PATH} bytes a unix socket may have; write a shorter path")
        return None
    return value


def regular_expression(cell: Cell) -> str | None:
    value = text(cell)
    if value is None:
        return None
    fault = regex_fault(value)
    if fault:
        cell.wrong(f"`{shown(value)}` is no regular expression: {fault}")
        return None
    return value


def regex_fault(pattern: str) -> str:
    """Why Python's `re` refuses the pattern; empty when it does not."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as fault:
        return str(fault)
    return ""


def mail_states(cell: Cell) -> str | None:
    """`emailalertstatus`: a list of daemon states, or `all`, or `none` alone."""
    value = text(cell)
    if value is None:
        return None
    states = [state.strip() for state in value.split(",")]
    if not all(
        [one_of(cell, state, ("all", "none", "starting", "running", "stopping", "reloading")) for state in states]
    ):
        return None
    if "none" in states and len(states) > 1:
        cell.wrong("`none` must stand alone; write emailalertstatus = none")
        return None
    return ",".join(states)


def netmask(cell: Cell) -> str | None:
    """A dotted quad (a whole mask), or a prefix length of 1 to 128: which one fits is decided by the section."""
    value = first_word(cell)
    if value is None:
        return None
    if _DIGITS.fullmatch(value) and len(value) <= 3 and 1 <= int(value) <= 128:
        return str(int(value))
    if _is_mask(value):
        return value
    cell.wrong(
        f"`{shown(value)}` is no netmask; write 255.255.255.0, or a prefix length such as 64 in a virtual6 section"
    )
    return None


def _is_mask(value: str) -> bool:
    try:
        inverted = int(IPv4Address(value)) ^ 0xFFFFFFFF
    except ValueError:
        return False
    return inverted & (inverted + 1) == 0


def header_name(cell: Cell) -> str | None:
    """A header that we may set: a token, and none that SIP itself reads."""
    value = text(cell)
    if value is None:
        return None
    if not _HEADER.fullmatch(value):
        cell.wrong(f"`{shown(value)}` is no header name; write {cell.word} = X-Client-Address")
        return None
    if value.lower() in _NOT_FOR_CLIENTHEADER or len(value) == 1:
        cell.wrong(f"{value} has a meaning in SIP; write {cell.word} = X-Client-Address")
        return None
    return value


def written(value: Value) -> str:
    """A value as the file would say it; `-` for nothing."""
    if value is None or value == "" or value == ():
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}" if value < 1_000_000 else f"{value:.0f}"
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return str(value)
