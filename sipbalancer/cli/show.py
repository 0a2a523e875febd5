"""How `status` and `where` look on a terminal: rich tables from the admin socket's JSON.

Reason phrases and Contacts come from the network: `plain` takes what a terminal would obey out of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

WIDTH_OF_A_PIPE = 160
"""Columns where no terminal says how many: nothing is cut in a file or a pipe."""

NARROW = 120
"""Columns below which a table with reasons in it cannot be read."""

COLOURS = {"up": "green", "starting": "yellow", "draining": "cyan", "overloaded": "magenta", "down": "bold red"}

Document = Mapping[str, Any]


def console() -> Console:
    """Standard output, with room in a pipe."""
    made = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
    return (
        made
        if made.is_terminal
        else Console(highlight=False, markup=False, emoji=False, width=WIDTH_OF_A_PIPE, no_color=True)
    )


def plain(value: object) -> str:
    """As text of one line, without control characters."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in str(value))


def span(seconds: float) -> str:
    """A length of time in its two largest units: `3d 4h`, `12m 5s`, `8s`."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (parts and len(parts) < 2):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def clock(at: float, now: float) -> str:
    """A moment as the log writes it (UTC): `14:02:11Z`, with the date when that was not in the last 20 hours."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%H:%M:%SZ}" if now - at < 72000 else f"{moment:%Y-%m-%d %H:%MZ}"


class _Fitted:
    """Drawn for the width there is when it is drawn: a watched terminal may be resized."""

    def __init__(self, wide: Callable[[], RenderableType], narrow: Callable[[], RenderableType]) -> None:
        self._wide = wide
        self._narrow = narrow

    def __rich_console__(self, made: Console, options: ConsoleOptions) -> RenderResult:
        yield self._narrow() if options.max_width < NARROW else self._wide()


def status_view(document: Document) -> RenderableType:
    """Notes first and loudly, then a table per service; on a narrow terminal the reasons stand below the table."""
    services, now = document["services"], float(document["now"])
    notes = [*document["notes"], *(note for service in services for note in service["notes"])]
    shown: list[RenderableType] = [Text(f"! {plain(note)}", style="bold yellow") for note in notes]
    shown += [Text(f"! {each}", style="bold red") for each in map(_nobody, services) if each]
    shown += [_Fitted(partial(_service, each, now), partial(_narrow_service, each, now)) for each in services]
    shown += [_workers(document["workers"], now)] if document.get("workers") else []
    shown.append(_footer(document))
    return Group(*shown)


def _workers(workers: Sequence[Document], now: float) -> Table:
    """One row per process that forwards."""
    table = Table(title="workers", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for heading in ("worker", "pid", "since", "messages/s", "share", "CPU", "restarts"):
        table.add_column(heading, justify="right", no_wrap=True, header_style="dim")
    for each in workers:
        table.add_row(
            str(each["worker"]),
            Text(str(each["pid"])) if each["pid"] else Text("none", style="bold red"),
            span(now - float(each["since"])),
            f"{float(each['messages_per_second']):.1f}",
            f"{float(each['share']):.1%}",
            f"{float(each['cpu']):.0%}",
            Text(str(each["restarts"]), style="yellow" if each["restarts"] else ""),
        )
    return table


def _nobody(service: Document) -> str:
    """Said on top when no server of the service is up."""
    pool = [server for server in service["servers"] if not server["fallback"]]
    if any(server["verdict"] == "up" for server in pool):
        return ""
    saved = any(server["fallback"] and server["verdict"] != "down" for server in service["servers"])
    resort = ", ".join(plain(name) for name in service.get("last_resort", ()))
    if resort:
        what = f"{resort} {'get' if ', ' in resort else 'gets'} what is new, though draining"
    else:
        what = "the fallback server gets what is new" if saved else "whatever is new is in danger"
    return f"{plain(service['virtual'])}: none of {_count(len(pool), 'server')} is up: {what}"


def _footer(document: Document) -> Text:
    up_for = span(float(document["now"]) - float(document["started"]))
    failed = int(document["reloads"].get("failed", 0))
    program = f"sipbalancer {plain(document['version'])} ({plain(document['runs'])})"
    text = f"{program} on {plain(document['file'])}, running for {up_for}"
    if failed:
        return Text(f"{text}; {failed} reload{'s' if failed > 1 else ''} failed: see the log", style="bold yellow")
    return Text(text, style="dim")


def _service(service: Document, now: float) -> Table:
    table = Table(title=_title(service), title_justify="left", title_style="bold", expand=False)
    table.add_column("server", overflow="fold", min_width=15)
    table.add_column("verdict", no_wrap=True, min_width=8)
    table.add_column("reason", overflow="fold", min_width=8)
    for heading in ("since", "latency", "weight", "calls", "registered", "requests/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for server in service["servers"]:
        name, verdict, since, *numbers = _row(server, now)
        since = Text(f"{clock(float(server['since']), now)} {since.plain}")
        table.add_row(name, verdict, _reason(server, now), since, *numbers)
    return table


def _narrow_service(service: Document, now: float) -> RenderableType:
    """Fits 80 columns: no frame, short headings, and a line for each server that has something to say."""
    table = Table(title=_title(service), title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    table.add_column("server", overflow="fold", min_width=15, header_style="dim")
    table.add_column("verdict", no_wrap=True, min_width=8, header_style="dim")
    for heading in ("since", "latency", "weight", "calls", "regs", "req/s"):
        table.add_column(heading, justify="right", no_wrap=True, header_style="dim")
    for server in service["servers"]:
        table.add_row(*_row(server, now))
    said = [_said(server, now) for server in service["servers"] if server["verdict"] != "up" or server.get("drain")]
    return Group(table, *said)


def _said(server: Document, now: float) -> RenderableType:
    verdict = str(server["verdict"])
    text = Text.assemble(plain(server["name"]), " ", (plain(verdict), COLOURS.get(verdict, "")))
    text.append(f" since {clock(float(server['since']), now)}: ").append_text(_reason(server, now))
    return Padding(text, (0, 0, 0, 2))


def _title(service: Document) -> str:
    pins = ", ".join(f"{plain(kind)} {count}" for kind, count in service["pins"].items() if count)
    standby = "STANDBY  " if service.get("state") == "standby" else ""
    return f"{plain(service['virtual'])}  {standby}{plain(service['scheduler'])}  pins: {pins or 'none'}"


def _row(server: Document, now: float) -> Iterable[Text]:
    verdict = str(server["verdict"])
    yield _name(server)
    yield Text(plain(verdict), style=COLOURS.get(verdict, ""))
    yield Text(span(now - float(server["since"])))
    yield Text(f"{float(server['latency']) * 1000:.1f} ms" if server["latency"] else "-")
    for field in ("weight", "calls", "registrations"):
        yield Text(str(server[field]))
    yield Text(f"{float(server['requests_per_second']):.1f}")


def _name(server: Document) -> Text:
    name, key = plain(server["name"]), plain(server["server"])
    text = Text(name if key in name else f"{name} ({key})")
    if server["fallback"]:
        text.append(" fallback", style="dim")
    if server["drained"]:
        text.append(" drained", style="cyan")
    return text


def _reason(server: Document, now: float) -> Text:
    """The reason; for a server that is being emptied what is left, or that it is safe to stop."""
    text = Text(plain(server["reason"]))
    if server.get("full"):
        text.stylize("yellow")
    drain = server.get("drain")
    if drain:
        safe = bool(drain["safe"])
        text.append(f"; {left_text({**server, **drain}, now)}", style="bold green" if safe else "")
    return text


def left_text(left: Document, now: float) -> str:
    """`safe to stop`, or what is left, or why that is not known."""
    if left["safe"]:
        return "safe to stop"
    counted = ", ".join(
        _count(int(left[field]), noun)
        for field, noun in (("calls", "call"), ("registrations", "registration"), ("transactions", "transaction"))
        if left[field]
    )
    silent = left["silent_calls"]
    parts = [f"left: {counted}" if counted else "nothing counted is left"]
    if silent:
        parts.append(f"{_count(silent, 'call')} silent for over an hour")
    if left["withheld"]:
        until = f" (known in {span(float(left['known_at']) - now)})" if left["known_at"] else ""
        parts.append(f"not known to be safe: {plain(left['withheld'])}{until}")
    return "; ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def where_view(aor: str, entries: Sequence[Document]) -> RenderableType:
    """One table; a line that says so when nobody knows the AoR."""
    if not entries:
        return Text(f"{plain(aor)}: no registration is known")
    return _Fitted(partial(_where_table, aor, entries), partial(_where_lines, aor, entries))


def _where_table(aor: str, entries: Sequence[Document]) -> Table:
    table = Table("virtual", "server", "Contact", "client", "expires in", title=plain(aor), title_justify="left")
    for entry in entries:
        for contact in _contacts(entry):
            table.add_row(
                *(Text(plain(cell)) for cell in (entry["virtual"], entry["server"], contact["uri"], contact["client"])),
                Text(span(float(contact["expires"]))),
            )
    return table


def _where_lines(aor: str, entries: Sequence[Document]) -> RenderableType:
    lines: list[RenderableType] = [Text(plain(aor), style="bold")]
    for entry in entries:
        lines.append(Text(f"  at {plain(entry['virtual'])}: server {plain(entry['server']) or 'not known'}"))
        for contact in _contacts(entry):
            told = (
                f"{plain(contact['uri'])} from {plain(contact['client'])}, expires in {span(float(contact['expires']))}"
            )
            lines.append(Padding(Text(told, overflow="fold"), (0, 0, 0, 4)))
    return Group(*lines)


def _contacts(entry: Document) -> Sequence[Document]:
    """A pin without Contact: the server keeps the Path, or the balancer lost its state."""
    return entry["contacts"] or [{"uri": "-", "client": "-", "expires": entry["expires"]}]


def change_text(result: Document) -> str:
    """What `drain` and `enable` did, and when a drained server may be stopped."""
    lines = [
        f"{plain(each['server'])}: {plain(each['old'])} -> {plain(each['new'])} ({plain(each['reason'])})"
        for each in result["transitions"]
    ]
    lines += [] if lines else ["no verdict changed"]
    drained = result["drained"]
    lines += [
        f"{plain(each['server'])} is drained: {each['calls']} calls and {each['registrations']} registrations on it"
        for each in drained
    ]
    if drained:
        lines.append("registrations leave with their next refresh; status says when it is safe to stop (drain --wait)")
    return "\n".join(lines)
