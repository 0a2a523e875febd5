"""`emailalert`: which change of a server is worth a mail, and what the mail says.

ldirectord's meanings: a mail when a server goes out of service and when it comes back, in the states of the daemon that
`emailalertstatus` names, again every `emailalertfreq` seconds while it stays down. All that happens to one service
within a second is one mail. Here is no socket and no clock: `look` is shown what is, `letters` gives what to send.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import NamedTuple

from sipbalancer.config.model import VirtualServiceConfig
from sipbalancer.daemon.mail import Letter
from sipbalancer.director.verdict import Verdict

STARTING, RUNNING, RELOADING, STOPPING = "starting", "running", "reloading", "stopping"
"""States of the daemon, as `emailalertstatus` names them."""
GONE = frozenset((Verdict.DOWN, Verdict.OVERLOADED))
"""What is told again every `emailalertfreq` seconds."""
MOST_NAMED = 3
"""Servers named in a subject."""


class ServerView(NamedTuple):
    """One real server now."""

    key: str
    name: str
    verdict: Verdict
    reason: str


class ServiceView(NamedTuple):
    """One virtual service now. Without alerts while `standby`: another host has the address and tells."""

    config: VirtualServiceConfig
    standby: bool
    servers: tuple[ServerView, ...]


class Event(NamedTuple):
    """One thing to tell: `what` is a word for the subject."""

    what: str
    server: str
    reason: str


class Alerts:
    """What was told of each server, and what is to be told."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Verdict] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._told: dict[tuple[str, str], float] = {}
        """When a server that is gone was last told."""
        self._configs: dict[str, ServiceView] = {}
        self._events: dict[str, list[Event]] = {}

    def look(self, services: Iterable[ServiceView], state: str, now: float) -> None:
        """Note what changed since the last look; call it after every change, before the next can hide it."""
        views = {view.config.key: view for view in services}
        seen: set[tuple[str, str]] = set()
        self._configs.update(views)
        for virtual, view in views.items():
            for server in view.servers:
                seen.add((virtual, server.key))
                self._look_at(view, server, state, now)
        for key in [key for key in self._known if key not in seen]:
            self._forget(key, state)

    def _look_at(self, view: ServiceView, server: ServerView, state: str, now: float) -> None:
        key = (view.config.key, server.key)
        old = self._known.get(key)
        if server.verdict is Verdict.STARTING or (server.verdict is old and not self._due_again(view, key, now)):
            return  # rising, or not yet judged: nothing is known that was not
        self._known[key], self._names[key] = server.verdict, server.name
        if server.verdict in GONE:
            self._told[key] = now
        else:
            self._told.pop(key, None)
        what = f"still {server.verdict.value}" if server.verdict is old else server.verdict.value
        self._note(view, state, Event(what, server.name, server.reason))

    def _due_again(self, view: ServiceView, key: tuple[str, str], now: float) -> bool:
        told, frequency = self._told.get(key), view.config.emailalertfreq
        return told is not None and frequency > 0 and now - told >= frequency

    def _forget(self, key: tuple[str, str], state: str) -> None:
        del self._known[key]
        self._told.pop(key, None)
        self._note(self._configs[key[0]], state, Event("removed", self._names.pop(key), "no longer in the file"))

    def stop(self, services: Iterable[ServiceView]) -> None:
        """The balancer ends: no server of any service is served any more."""
        for view in services:
            for server in view.servers:
                self._note(view, STOPPING, Event("not served", server.name, "the balancer stops"))

    def _note(self, view: ServiceView, state: str, event: Event) -> None:
        if view.config.emailalert and not view.standby and _wants(view.config.emailalertstatus, state):
            self._configs[view.config.key] = view
            self._events.setdefault(view.config.key, []).append(event)

    def letters(self, sender: str, state: str) -> list[Letter]:
        """What was noted since the last call, one letter per service."""
        events, self._events = self._events, {}
        return [_letter(self._configs[virtual], noted, sender, state) for virtual, noted in events.items()]


def _wants(states: str, state: str) -> bool:
    words = states.split(",")
    return "all" in words or state in words


def _letter(view: ServiceView, events: list[Event], sender: str, state: str) -> Letter:
    config = view.config
    subject = _subject(config, events)
    serving = sum(server.verdict is Verdict.UP for server in view.servers)
    lines = [
        f"sipbalancer host: {socket.gethostname()}",
        f"Log-Message: {subject}",
        f"Daemon-Status: {state}",
        "",
        *(f"real server {event.what}: {event.server} ({config.key}): {event.reason}" for event in events),
        "",
        f"{serving} of {len(view.servers)} real servers of {config.key} are up",
    ]
    if not serving and config.fallback is not None:
        lines.append(f"the fallback {config.fallback.key} takes the work")
    lines += [f"Service name: {config.servicename}"] if config.servicename else []
    lines += [f"Comment: {config.comment}"] if config.comment else []
    titled = f"[{config.servicename}] {subject}" if config.servicename else subject
    return Letter(config.emailalert, sender, titled, "\n".join(lines) + "\n", config.smtp)


def _subject(config: VirtualServiceConfig, events: list[Event]) -> str:
    """What each server is now; how it came to that is in the text."""
    last = {event.server: event for event in events}
    if len(last) == 1:
        (event,) = last.values()
        return f"real server {event.what}: {event.server} ({config.key}): {event.reason}"
    words: dict[str, list[str]] = {}
    for event in last.values():
        words.setdefault(event.what, []).append(event.server)
    parts = [f"{what}: {_few(servers)}" for what, servers in words.items()]
    return f"real servers {'; '.join(parts)} ({config.key})"


def _few(servers: list[str]) -> str:
    named = ", ".join(servers[:MOST_NAMED])
    return named if len(servers) <= MOST_NAMED else f"{named} and {len(servers) - MOST_NAMED} more"
