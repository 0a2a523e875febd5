"""`endcalls = yes`: the phones' legs of a dead server's calls are ended by a BYE of ours, with the proof that a request
inside a dialog needs for its 481 (`deaddialogs` seconds down without a sign of life, or a port that refuses).

Early dialogs are ended without it, by a final or CANCEL (`retries`). Calls that only a pin tells of, as after a
restart, are left alone, and that is said.
"""

from __future__ import annotations

from collections import deque

from sipbalancer.director.dialogs import Dialog
from sipbalancer.director.pins import PinKind
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.repeats import request_key
from sipbalancer.director.service import VirtualService
from sipbalancer.director.state import State
from sipbalancer.director.transactions import TIMER_F
from sipbalancer.director.verdict import Verdict
from sipbalancer.sip.compose import bye
from sipbalancer.sip.flow import flow_of
from sipbalancer.sip.grammar import MAGIC_COOKIE

AT_ONCE = 64
"""BYEs per call of `due`, 1,280 a second: the rest follow."""
REASON = b'SIP;cause=503;text="server down"'
"""RFC 3326."""


class EndCalls:
    """Works on the dialogs of `state`; looked after by `due`."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._over: dict[RealServer, float] = {}
        """Server -> the `since` of the outage whose calls were ended."""
        self._left: deque[tuple[int, VirtualService]] = deque()

    def due(self, now: float) -> None:
        """Begin with what is proved now, go on with what is left; bounded."""
        if self._state.dialogs.held:
            self._state.dialogs.sweep(lambda key: self._state.pins.get(key, now) >= 0, AT_ONCE)
        for service in self._state.services.values():
            if service.config.endcalls:
                for server in service.by_packed.values():
                    if self._over.get(server) != server.since and self._is_proved(service, server, now):
                        self._begin(service, server)
        for _ in range(min(AT_ONCE, len(self._left))):
            key, service = self._left.popleft()
            try:
                self._end_if_dead(service, key, now)
            except Exception:  # a bug of ours must cost one call, not the rest of them
                self._state.failed(service)

    def _end_if_dead(self, service: VirtualService, key: int, now: float) -> None:
        dialog = self._state.dialogs.held.get(key)
        if dialog is not None and dialog.server.health.verdict is Verdict.DOWN:
            self._end(service, key, dialog, now)

    def _begin(self, service: VirtualService, server: RealServer) -> None:
        self._over[server] = server.since
        keys = self._state.dialogs.of(server)
        self._left.extend((key, service) for key in keys)
        unknown = server.calls - len(keys) if self._state.crossings is None else 0  # others know the rest
        if keys or unknown > 0:
            left = f"; {unknown} more are known by their pin alone (a restart) and left alone" if unknown > 0 else ""
            self._state.tell(f"{server.name}: down, endcalls = yes: {len(keys)} calls are ended by BYE{left}")

    def _end(self, service: VirtualService, key: int, dialog: Dialog, now: float) -> None:
        state, server, packed = self._state, dialog.server, dialog.client[1]
        state.dialogs.drop(key)
        packed = state.moved.get(state.moved_key(dialog.call_id, packed), now) or packed
        made = state.keys.transaction(service.sent_by, b"endcalls", dialog.call_id, b"%d" % dialog.seq, packed[2:])
        via = b"%b%b%b\r\n" % (service.via, made, server.tag)
        out = bye(
            dialog.target, via, dialog.routes, dialog.local, dialog.remote, dialog.call_id, dialog.seq + 1, REASON
        )
        state.say(
            request_key(b"BYE", b"%b%b%b" % (MAGIC_COOKIE, made, server.tag)), (out, flow_of(service.leg, packed)), now
        )
        state.pins.put(key, server.serial, PinKind.ENDED, now + TIMER_F)
        service.dropped["ended by us: BYE"] += 1

    def _is_proved(self, service: VirtualService, server: RealServer, now: float) -> bool:
        """Also of a server that has left the file, as long as it is still probed for this (`ServiceTable.let_go`)."""
        if server.health.verdict is not Verdict.DOWN or server.health not in self._state.probed:
            return False
        return server.health.refused or now - server.silent_since >= service.config.deaddialogs
