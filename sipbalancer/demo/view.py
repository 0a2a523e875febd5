"""What one sees: a live table on a terminal, a line per second elsewhere, a summary at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from .ledger import Tally

COLOURS = {"up": "green", "starting": "yellow", "draining": "cyan", "overloaded": "magenta", "down": "bold red"}
EVENTS_SHOWN = 10


class Frame(NamedTuple):
    """One moment of the demo."""

    at: float
    """Seconds since the start, of `seconds`."""
    seconds: float
    title: str
    names: Sequence[str]
    """The servers' names, in the order of the file."""
    status: Mapping[str, Any] | None
    """The balancer's status document; None while it does not answer."""
    tally: Tally
    talking: int
    events: Sequence[str]


def live(frame: Frame) -> RenderableType:
    """The whole screen."""
    table = Table(title=frame.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("server", no_wrap=True, min_width=23)
    table.add_column("verdict", no_wrap=True, min_width=8)
    for heading in ("latency", "calls", "phones", "req/s"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=max(5, len(heading)))
    table.add_column("reason", no_wrap=True, overflow="ellipsis")  # the first to give way: the events tell it too
    for name, server in servers(frame):
        table.add_row(*_row(name, server))
    events = [Text(event, style="dim") for event in frame.events[-EVENTS_SHOWN:]]
    return Group(table, Text(_numbers(frame)), *events)


def line(frame: Frame) -> str:
    """The same in one line, for a pipe or a log."""
    parts = [
        f"{name} {server['verdict']} {server['registrations']} reg {server['calls']} calls"
        for name, server in servers(frame)
    ]
    tally = frame.tally
    return (
        f"{frame.at:4.0f}s  {' | '.join(parts) or 'no status'} | phones {tally.registered} registered, "
        f"{frame.talking} talking | calls {tally.calls} asked {tally.calls_answered} answered "
        f"{tally.calls_cut} cut {tally.calls_lost} lost"
    )


def servers(frame: Frame) -> list[tuple[str, Mapping[str, Any]]]:
    """Each server's name and entry of the status document."""
    services = (frame.status or {}).get("services") or [{"servers": []}]
    return list(zip(frame.names, services[0]["servers"], strict=False))


def _row(name: str, server: Mapping[str, Any]) -> list[Text]:
    verdict = str(server["verdict"])
    latency = float(server["latency"])
    return [
        Text(f"{name} {server['server']}"),
        Text(verdict, style=COLOURS.get(verdict, "")),
        Text(f"{latency * 1000:.1f} ms" if latency else "-"),
        Text(str(server["calls"])),
        Text(str(server["registrations"])),
        Text(f"{float(server['requests_per_second']):.1f}"),
        Text(str(server["reason"])),
    ]


def _numbers(frame: Frame) -> str:
    tally = frame.tally
    return (
        f"{frame.at:.0f} of {frame.seconds:.0f} s   phones: {tally.registered} of {tally.phones} registered, "
        f"{frame.talking} talking   calls: {tally.calls} asked, {tally.calls_answered} answered, "
        f"{tally.calls_cut} cut with their server, {tally.calls_lost} lost"
    )


def summary(tally: Tally, seconds: float) -> RenderableType:
    """The last word: asked, answered, cut, lost."""
    table = Table(
        title=f"What {tally.phones} phones asked in {seconds:.0f} s", title_justify="left", title_style="bold"
    )
    for heading in ("", "asked", "answered", "cut with their server", "lost"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, *numbers in (
        (
            "registrations",
            tally.registrations,
            tally.registrations_answered,
            tally.registrations_cut,
            tally.registrations_lost,
        ),
        ("calls", tally.calls, tally.calls_done, tally.calls_cut, tally.calls_lost),
        ("BYE in calls", tally.byes, tally.byes_answered, tally.byes_cut, tally.byes_lost),
    ):
        table.add_row(name, *(str(number) for number in numbers))
    return Group(table, *(Text(text) for text in _remarks(tally)))


def _remarks(tally: Tally) -> list[str]:
    said = [f"retransmissions by the phones: {tally.retransmissions}; longest wait: {_span(tally.longest_wait)}"]
    if tally.calls_cut:
        said.append("cut: the server that carried the call was killed, or had just been when it was asked")
    said += [f"lost: {count} calls: {why}" for why, count in tally.refusals.most_common()]
    if tally.strangers:
        said.append(f"lost: {tally.strangers} phones were not registered at the end")
    if tally.doubles:
        said.append(f"wrong: {tally.doubles} calls were answered by two servers")
    said.append("nothing was lost" if not tally.lost else "SOMETHING WAS LOST")
    return said


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1.0 else f"{seconds * 1000:.0f} ms"


def console(*, plain: bool) -> Console:
    """Standard output; wide and without colour when it is no terminal."""
    made = Console(highlight=False, markup=False, emoji=False)
    if plain or not made.is_terminal:
        return Console(highlight=False, markup=False, emoji=False, width=180, no_color=True, force_terminal=False)
    return made
