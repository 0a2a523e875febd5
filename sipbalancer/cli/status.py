"""`status`, `status --watch` and `where`: ask the balancer, show its answer."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from sipbalancer.cli.ask import ask
from sipbalancer.cli.show import console, status_view, where_view
from sipbalancer.errors import EnvironmentFault

WATCH_SECONDS = 1.0


def status(path: Path, as_json: bool) -> None:
    """Print once. EnvironmentFault when no balancer answers at `path`."""
    document = _document(path)
    if as_json:
        _line(document)
    else:
        console().print(status_view(document))


def watch(path: Path, as_json: bool) -> None:
    """Print every second until Ctrl-C. A balancer that stops is said so and waited for; one must answer at first."""
    status_once = _document(path)
    try:
        if as_json:
            _watch_lines(path)
        else:
            _watch_table(path, status_view(status_once))
    except KeyboardInterrupt:
        return


def _watch_lines(path: Path) -> None:
    while True:
        _line(_document(path))
        time.sleep(WATCH_SECONDS)


def _watch_table(path: Path, first: RenderableType) -> None:
    with Live(first, console=console(), auto_refresh=False, screen=sys.stdout.isatty()) as live:
        while True:
            time.sleep(WATCH_SECONDS)
            live.update(_view(path), refresh=True)


def _view(path: Path) -> RenderableType:
    try:
        return status_view(_document(path))
    except EnvironmentFault as error:
        return Text(str(error), style="bold red")


def where(path: Path, aor: str, as_json: bool) -> bool:
    """Print where the AoR lives; whether anybody knows it."""
    entries: list[dict[str, Any]] = ask(path, command="where", aor=aor)
    if as_json:
        _line(entries)
    else:
        console().print(where_view(aor, entries))
    return bool(entries)


def _document(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = ask(path, command="status")
    return document


def _line(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
