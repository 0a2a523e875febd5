"""What answers teach (design 4.4): pins and Contacts come from real finals, never from requests alone.

Every function takes the answer as it passed and changes the state; nothing is sent from here.
"""

from __future__ import annotations

from sipbalancer.director.bindings import Bound
from sipbalancer.director.pins import PinKind
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.service import VirtualService
from sipbalancer.director.state import State
from sipbalancer.director.transactions import TIMER_C, TIMER_F, Transaction
from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.aor import read_aor
from sipbalancer.sip.contacts import (
    STAR,
    Contact,
    contact_uri,
    identity,
    only_contact,
    read_contacts,
    session_expires_of,
)
from sipbalancer.sip.flow import Flow
from sipbalancer.sip.headers import read_message

PERSISTENT_SHARE = 0.4
"""Of the pins the table promises room for: the table refuses nothing before its fill is 1.4 times that."""


def provisional(state: State, transaction: Transaction, status: int, now: float) -> None:
    """A 1xx: Timer C starts anew (16.8), and the call's unconfirmed pin lives on while it rings."""
    if status > transaction.provisional:
        transaction.provisional = status
    if transaction.method == b"INVITE":
        transaction.deadline = now + TIMER_C
        key = state.key_of_call(transaction)
        state.recent_calls.put(key, transaction.server.number, now)
        if transaction.persistence:
            state.unproved.put(transaction.persistence, transaction.server.number, now)


def final(
    state: State,
    service: VirtualService,
    server: RealServer,
    method: bytes,
    status: int,
    data: bytes,
    transaction: Transaction | None,
    client: Flow,
    now: float,
) -> None:
    """A final answer, `transaction` None where we never saw (or no longer know) the request."""
    if method == b"INVITE":
        if status < 300:
            call_begins(state, service, server, data, transaction, now)
    elif method == b"REGISTER":
        if transaction is None or transaction.inward:
            registered(state, service, server, status, data, transaction, client, now)
    elif method == b"UPDATE" and status < 300:
        call_renewed(state, service, server, data, transaction, now)
    elif method == b"BYE" and (status < 300 or status in (408, 481)):
        if transaction is None or status < 300 or is_party(state, transaction):
            call_ends(state, service, server, data, transaction, now)
    if transaction is not None:
        if transaction.persistence and status < 300:
            _persists(state, service, transaction, now)
        if transaction.token is not None and status < 300:
            moved = state.moved_key(transaction.call_id, transaction.token[1])
            state.moved.put(moved, transaction.client[1], now)
            if state.crossings is not None:
                state.crossings.note_moved(moved, transaction.client[1])
        state.transactions.end(transaction, now)


def _call_key(state: State, service: VirtualService, data: bytes, transaction: Transaction | None) -> int:
    if transaction is not None:
        return state.key_of_call(transaction)
    return state.call_key(service, read_message(data).first(b"call-id") or b"")


def call_begins(
    state: State, service: VirtualService, server: RealServer, data: bytes, transaction: Transaction | None, now: float
) -> None:
    """2xx to INVITE: the call pin, for Session-Expires or `calltimeout`."""
    key = _call_key(state, service, data, transaction)
    if transaction is None and state.pins.get(key, now) >= 0:
        return  # a late copy of what has been learned; the call may be over since
    state.recent_calls.drop(key)
    _pin_call(state, service, server, key, data, now)
    if service.config.endcalls and transaction is not None:
        state.dialogs.learn(key, transaction, data)


def call_renewed(
    state: State, service: VirtualService, server: RealServer, data: bytes, transaction: Transaction | None, now: float
) -> None:
    """2xx to UPDATE, which renews a session timer as a re-INVITE does (RFC 4028 section 7): a known call lives on."""
    key = _call_key(state, service, data, transaction)
    if state.pins.life(key, now) > TIMER_F + 1:  # not one that has ended
        _pin_call(state, service, server, key, data, now)


def _pin_call(state: State, service: VirtualService, server: RealServer, key: int, data: bytes, now: float) -> None:
    timer = session_expires_of(data)
    kind = PinKind.TIMED if timer else PinKind.CALL
    state.pins.put(key, server.serial, kind, now + (timer or service.config.calltimeout))


def call_ends(
    state: State, service: VirtualService, server: RealServer, data: bytes, transaction: Transaction | None, now: float
) -> None:
    """2xx, 481 or 408 to BYE: no call any more, but pinned 32 s for what comes late."""
    key = _call_key(state, service, data, transaction)
    state.dialogs.drop(key)
    if state.pins.get(key, now) >= 0:
        state.pins.put(key, server.serial, PinKind.ENDED, now + TIMER_F)


def is_party(state: State, transaction: Transaction) -> bool:
    """Whether this request inside a dialog is of one of its ends: it came from the server, by the token only they have
    seen, or from the phone's address. Who merely knows the Call-ID ends no call by a BYE that nobody accepts."""
    if transaction.sealed or not transaction.inward:
        return True
    dialog = state.dialogs.held.get(state.key_of_call(transaction))
    return dialog is not None and dialog.client[1] == transaction.client[1]


def registered(
    state: State,
    service: VirtualService,
    server: RealServer,
    status: int,
    data: bytes,
    transaction: Transaction | None,
    client: Flow,
    now: float,
) -> None:
    """A final to REGISTER: 2xx confirms the binding pin or ends it, 403 and 404 end the provisional one."""
    if transaction is not None and transaction.aor:
        aor, pin = transaction.aor, transaction.pin
    else:
        aor = read_aor(read_message(data).first(b"to") or b"", service.hosts)
        pin = state.binding_key(service, aor)
    if status in (403, 404):
        state.provisional.drop(pin ^ hash(client[1]))
    elif status in (401, 407) and service.config.registerrate and transaction is not None:
        state.challenged.put(state.call_key(service, transaction.call_id), server.number, now)
    if status >= 300 or not aor:
        return
    if transaction is not None and _renewed(state, service, transaction, data, now):
        return
    listed = read_contacts(data)
    state.provisional.drop(pin ^ hash(client[1]))
    _pin(state, service, server, pin, listed, now)
    _bind(state, service, server, aor, pin, listed, transaction, client, now)


def refreshed(state: State, service: VirtualService, transaction: Transaction, data: bytes, now: float) -> bool:
    """A 2xx to REGISTER as nearly all of them are. False, and nothing learned, for one that `final` must read."""
    if transaction.persistence or not transaction.inward or not _renewed(state, service, transaction, data, now):
        return False
    state.transactions.end(transaction, now)
    return True


def _renewed(state: State, service: VirtualService, transaction: Transaction, data: bytes, now: float) -> bool:
    """The usual 2xx, a refresh of one known Contact, without the general reader."""
    granted = only_contact(data)
    if granted is None or not granted.expires:
        return False
    if transaction.data.find(b"\nContact: <" + granted.uri + b">") < 0:
        return False  # what was granted is not what this phone asked for
    pin, server, client = transaction.pin, transaction.server.serial, transaction.client[1]
    if not transaction.aor or not state.bindings[service.leg].renew(
        pin, granted.uri, client, server, now, granted.expires
    ):
        return False
    if transaction.provisional_pin:
        state.provisional.drop(pin ^ hash(client))
    state.pins.put(pin, server, PinKind.BINDING, now + max(service.config.persistent, granted.expires))
    return True


def _pin(
    state: State, service: VirtualService, server: RealServer, pin: int, listed: list[Contact], now: float
) -> None:
    lives = [contact.expires or 0 for contact in listed if contact.expires != 0]
    if not lives:
        state.pins.drop(pin)
        return
    kind = PinKind.BINDING
    state.pins.put(pin, server.serial, kind, now + max(service.config.persistent, *lives))


def _bind(
    state: State,
    service: VirtualService,
    server: RealServer,
    aor: bytes,
    pin: int,
    listed: list[Contact],
    transaction: Transaction | None,
    client: Flow,
    now: float,
) -> None:
    bindings = state.bindings[service.leg]
    granted = {identity(contact.uri): contact for contact in listed if contact.expires != 0}
    if not granted:
        bindings.forget(pin, lambda bound: False)
        return
    asked = _asked(transaction)
    if asked == [STAR]:
        asked = []
    for contact in asked:
        match = granted.get(identity(contact.uri)) or _rewritten(service, contact, listed, client)
        if match is not None and match.expires != 0 and contact.expires != 0:
            life = float(match.expires or service.config.persistent)
            if not bindings.learn(pin, aor, contact.uri, client[1], server.serial, now, life):
                service.dropped["contact not kept"] += 1
    gone = {identity(contact.uri) for contact in asked if contact.expires == 0}
    if any(_names_us(service, contact) for contact in listed):
        bindings.forget(pin, lambda bound: bound.identity not in gone)
    else:
        bindings.forget(pin, lambda bound: _still(bound, granted, gone, asked))


def _still(bound: Bound, granted: dict[bytes, Contact], gone: set[bytes], asked: list[Contact]) -> bool:
    """A bound Contact stays while the server lists it, or where it lists Contacts in a form of its own."""
    if bound.identity in gone:
        return False
    return bound.identity in granted or not any(identity(contact.uri) in granted for contact in asked)


def _asked(transaction: Transaction | None) -> list[Contact]:
    if transaction is None:
        return []
    try:
        return read_contacts(transaction.data)
    except MalformedMessage:
        return []


def _rewritten(service: VirtualService, asked: Contact, listed: list[Contact], client: Flow) -> Contact | None:
    """The listed Contact that stands for the one asked for, where the server put another address into it."""
    user = contact_uri(asked.uri)
    if user is None:
        return None
    for contact in listed:
        read = contact_uri(contact.uri)
        if read is not None and read.user == user.user and (_names_us(service, contact) or len(listed) == 1):
            return contact
    return None


def _names_us(service: VirtualService, contact: Contact) -> bool:
    read = contact_uri(contact.uri)
    return read is not None and service.is_ours(read.place)


def persist(
    state: State,
    service: VirtualService,
    server: RealServer,
    transaction: Transaction,
    pin: int,
    by: str,
    now: float,
) -> None:
    """`persistencekey` other than aor: any request keeps the choice, `persistent` seconds from the last one.

    What a dialog chose makes no pin of its own: it may be on a server that gets nothing new. A first request of
    whomever makes an unproved one, its 2xx the pin: strangers must not fill the table of registrations and calls.
    """
    if not pin or server is service.fallback:
        return
    held = state.pins.get(pin, now)
    if by in ("token", "call", "related") and held != server.serial:
        return
    transaction.persistence = pin
    if held >= 0:
        state.pins.put(pin, server.serial, PinKind.PERSISTENT, now + service.config.persistent)
    else:
        state.unproved.put(pin, server.number, now)


def _persists(state: State, service: VirtualService, transaction: Transaction, now: float) -> None:
    """A 2xx: the choice that was made by another key than the AoR is a pin, while such pins have room."""
    pin, server = transaction.persistence, transaction.server
    if server is service.fallback:
        return
    if state.pins.get(pin, now) < 0 and state.pins.total(PinKind.PERSISTENT) >= state.pins.promised * PERSISTENT_SHARE:
        service.dropped["persistence pins full"] += 1
        return
    state.pins.put(pin, server.serial, PinKind.PERSISTENT, now + service.config.persistent)
