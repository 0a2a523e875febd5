"""`explain`: read a datagram, ask the balancer (or the file alone) what would become of it, show the answer.

A datagram on paper is text: where it has no CRLF at all its line ends are made CRLF, and that is said.
"""

from __future__ import annotations

import json
import sys
import time
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sipbalancer.cli.ask import ask
from sipbalancer.cli.show import console, plain
from sipbalancer.config.model import Config
from sipbalancer.daemon.explained import explain_file
from sipbalancer.director.explain import LARGEST
from sipbalancer.errors import ConfigError, EnvironmentFault, Finding

Document = Mapping[str, Any]


def read_input(name: str) -> tuple[bytes, list[str]]:
    """(the datagram, notes on what was made of it) from a file, or standard input for `-`. ConfigError: unreadable."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(4 * LARGEST)
        else:
            with Path(name).open("rb") as file:
                data = file.read(4 * LARGEST)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _bad(name, f"cannot be read: {reason.lower()}") from error
    data, notes = as_datagram(data)
    if len(data) > LARGEST:
        raise _bad(name, f"more than {LARGEST} bytes: no UDP datagram has as many")
    return data, notes


def as_datagram(data: bytes) -> tuple[bytes, list[str]]:
    """Text without any CRLF gets them, and the blank line that editors take away."""
    if b"\n" not in data or b"\r" in data:
        return data, []
    notes = ["line ends: LF, taken as CRLF"]
    data = data.replace(b"\n", b"\r\n")
    if b"\r\n\r\n" not in data and data.strip():
        data += b"\r\n"
        notes.append("the blank line after the headers was missing and is added")
    return data, notes


def _bad(name: str, advice: str) -> ConfigError:
    return ConfigError((Finding("standard input" if name == "-" else name, 0, "", advice),))


def ask_running(path: Path, data: bytes, source: str, virtual: str) -> dict[str, Any]:
    """EnvironmentFault when none answers at `path`; AdminError for a source or service that cannot be."""
    words = {"datagram": b64encode(data).decode(), "from": source, "virtual": virtual}
    answer: dict[str, Any] = ask(path, command="explain", **words)
    return answer


def ask_config(config: Config, data: bytes, source: str, virtual: str, *, alone: bool) -> dict[str, Any]:
    """Of the balancer that runs on this file; of the file alone when none answers, or when `alone`."""
    if alone:
        return explain_file(config, data, source, virtual, time.time())
    try:
        return ask_running(Path(config.admin), data, source, virtual)
    except EnvironmentFault as fault:
        answer: dict[str, Any] = explain_file(config, data, source, virtual, time.time())
        return {**answer, "notes": [str(fault).partition(":")[0], *answer["notes"]]}


def show(document: Document, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        console().print(view(document))


def view(document: Document) -> RenderableType:
    """What was read, the steps, what leaves, what is remembered: top to bottom as it happens."""
    parts: list[RenderableType] = [Text(f"! {plain(note)}", style="bold yellow") for note in document["notes"]]
    parts += [_heading("datagram"), _pairs(_where_from(document)), *_facts(document)]
    if document["steps"]:
        parts += [_heading("the way"), _steps(document["steps"])]
    parts += [_heading("so it"), Padding(Text(plain(document["outcome"]), style="bold"), (0, 0, 0, 2))]
    for number, sent in enumerate(document["sends"], 1):
        parts += [_heading(f"{number}. to {plain(sent['whom'])}"), _sent(sent)]
    if document["learns"]:
        parts += [_heading("and remembers"), *(_line(each) for each in document["learns"])]
    return Group(*parts)


def _where_from(document: Document) -> list[tuple[str, object]]:
    return [
        ("arrives at", f"{document['virtual']} ({document['virtual_by']})"),
        ("from", f"{document['source']} ({document['source_by']})"),
        ("which is", document["sender"]),
    ]


def _facts(document: Document) -> list[RenderableType]:
    facts = document["facts"]
    return [_pairs([(each["name"], each["value"]) for each in facts])] if facts else []


def _heading(text: str) -> Text:
    return Text(text, style="bold cyan")


def _line(text: object, style: str = "") -> Padding:
    return Padding(Text(plain(text), style=style), (0, 0, 0, 2))


def _grid() -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    return grid


def _pairs(pairs: list[tuple[str, object]]) -> Table:
    grid = _grid()
    grid.add_column(width=12, style="dim")
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row("", Text(plain(name)), Text(plain(value)))
    return grid


def _steps(steps: list[Document]) -> Table:
    grid = _grid()
    grid.add_column(width=12)
    grid.add_column(width=3)
    grid.add_column(overflow="fold")
    for step in steps:
        style = "bold green" if step["chose"] else "dim"
        grid.add_row("", *(Text(plain(text), style=style) for text in _step(step)))
    return grid


def _step(step: Document) -> tuple[object, str, object]:
    return step["link"], "yes" if step["chose"] else "no", step["why"]


def _sent(sent: Document) -> Table:
    grid = _grid()
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    grid.add_row("", "", Text(plain(sent["start_line"]), style="dim"))
    for change in sent["changes"]:
        if change["before"]:
            grid.add_row("", Text("-", style="red"), Text(plain(change["before"]), style="red"))
        if change["after"]:
            grid.add_row("", Text("+", style="green"), Text(plain(change["after"]), style="green"))
    return grid
