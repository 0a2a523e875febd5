"""A reload as data: what differs between the running file and the new one, in the words of the file.

Two files that mean the same have no difference, wherever their lines stand. Services and servers are the same
when their keys (`address:port`) are the same: what did not change keeps its pins, counters and health.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from sipbalancer.config.findings import shown
from sipbalancer.config.model import PASSWORDS, CheckConfig, Config, Frozen, RealServerConfig, VirtualServiceConfig
from sipbalancer.config.values import written

AT_START = frozenset(("metrics", "admin", "state", "secret", "registrations", "calls", "workers"))
"""Global words that are read once, at start: a reload names them and leaves them as they run."""

_UNSPOKEN = frozenset(("lines", "path", "virtual", "real", "check", "fallback", "host", "port"))


class Kind(StrEnum):
    """What happened to a service, a server or the globals."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class WordChange(NamedTuple):
    """One word of the file and its two values, as the file would write them."""

    word: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.word} {self.old} -> {self.new}"


class Change(NamedTuple):
    """One line of a difference. `virtual` is a service key, empty for global words; `real` is a server key, empty
    when the service itself is meant."""

    kind: Kind
    virtual: str
    real: str = ""
    words: tuple[WordChange, ...] = ()

    def __str__(self) -> str:
        return f"{_SIGNS[self.kind]} {self._what()}" + (": " + "; ".join(map(str, self.words)) if self.words else "")

    def _what(self) -> str:
        if not self.virtual:
            return "global"
        return f"virtual {self.virtual} real {self.real}" if self.real else f"virtual {self.virtual}"


_SIGNS = {Kind.ADDED: "+", Kind.REMOVED: "-", Kind.CHANGED: "~"}


def plan(old: Config, new: Config) -> tuple[Change, ...]:
    """All changes from `old` to `new`: globals, then services in the order of the new file (each followed by its
    servers), then services that are gone. A service that is added or removed stands for its servers."""
    before = {service.key: service for service in old.virtual}
    after = {service.key: service for service in new.virtual}
    words = _words(old, new)
    changes = [Change(Kind.CHANGED, "", "", words)] if words else []
    for key, service in after.items():
        if key in before:
            changes += _service(before[key], service)
        else:
            changes.append(Change(Kind.ADDED, key))
    changes += [Change(Kind.REMOVED, key) for key in before if key not in after]
    return tuple(changes)


def _service(old: VirtualServiceConfig, new: VirtualServiceConfig) -> Iterable[Change]:
    words = (*_words(old, new), *_fallback(old.fallback, new.fallback), *_words(old.check, new.check))
    if words:
        yield Change(Kind.CHANGED, new.key, "", words)
    before = {server.key: server for server in old.real}
    after = {server.key: server for server in new.real}
    for key, server in after.items():
        if key not in before:
            yield Change(Kind.ADDED, new.key, key)
        elif changed := _words(before[key], server):
            yield Change(Kind.CHANGED, new.key, key, changed)
    for key in before:
        if key not in after:
            yield Change(Kind.REMOVED, new.key, key)


def _fallback(old: RealServerConfig | None, new: RealServerConfig | None) -> tuple[WordChange, ...]:
    if old is not None and new is not None and old.key == new.key:
        return tuple(change._replace(word=f"fallback {change.word}") for change in _words(old, new))
    change = WordChange("fallback", old.key if old else "-", new.key if new else "-")
    return (change,) if change.old != change.new else ()


def _words(old: Frozen, new: Frozen) -> tuple[WordChange, ...]:
    """The fields that differ, without those that have a change of their own."""
    names = [name for name in type(new).model_fields if name not in _UNSPOKEN]
    pairs = ((name, getattr(old, name), getattr(new, name)) for name in names)
    hidden = PASSWORDS if isinstance(new, CheckConfig) else frozenset()
    return tuple(_word(name, before, after, name in hidden) for name, before, after in pairs if before != after)


def _word(name: str, before: object, after: object, hidden: bool) -> WordChange:
    if hidden:
        return WordChange(name, "(hidden)", "(hidden)")
    return WordChange(name, shown(written(before)), shown(written(after)))
