"""Where users are: bindings of an address-of-record to Contacts (RFC 3261 10.3), with their Path (RFC 3327)."""

from __future__ import annotations

from dataclasses import dataclass

from .message import Message, number, parameter, uri_in

MAX_EXPIRES = 3600
MAX_CONTACTS = 10


@dataclass(frozen=True, slots=True)
class Binding:
    """One device of one user; `expires` is an absolute time in seconds, `path` whole values, nearest to us first."""

    contact: str
    path: tuple[str, ...]
    expires: float
    call_id: str
    cseq: int
    server: str
    """Name of the server that took the registration (servers may share their contacts)."""


class Contacts:
    """All bindings. Several servers may hold one together, as Asterisks do with contacts in a database."""

    def __init__(self) -> None:
        self._users: dict[str, dict[str, Binding]] = {}

    def of(self, user: str, now: float) -> list[Binding]:
        """The live bindings of a user, newest last."""
        known = self._users.get(user, {})
        for contact in [contact for contact, binding in known.items() if binding.expires <= now]:
            del known[contact]
        return list(known.values())

    def keep(self, user: str, binding: Binding) -> None:
        known = self._users.setdefault(user, {})
        known.pop(binding.contact, None)
        known[binding.contact] = binding
        while len(known) > MAX_CONTACTS:
            del known[next(iter(known))]

    def forget(self, user: str, contact: str) -> None:
        self._users.get(user, {}).pop(contact, None)

    def registered_at(self, server: str, now: float) -> int:
        """How many live bindings this server took."""
        return sum(binding.server == server for user in list(self._users) for binding in self.of(user, now))


def wanted_life(request: Message, contact: str) -> int:
    """Seconds asked for this Contact (10.3 step 7): its own parameter, else Expires, else the most there is."""
    asked = number(parameter(contact, "expires"), number(request.get("Expires"), MAX_EXPIRES))
    return min(asked, MAX_EXPIRES)


def listed(bindings: list[Binding], now: float) -> list[tuple[str, str]]:
    """The Contact headers of a 200 to REGISTER."""
    return [("Contact", f"<{binding.contact}>;expires={max(1, round(binding.expires - now))}") for binding in bindings]


def is_star(request: Message) -> bool:
    """`Contact: *`: take everything back."""
    return [uri_in(contact) for contact in request.all("Contact")] == ["*"]
