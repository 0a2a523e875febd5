"""What systemd is told (sd_notify(3), `Type=notify` and `Type=notify-reload`): ready, reloading, stopping, alive.

One datagram per message to the socket named in NOTIFY_SOCKET; without it every method does nothing. A message that
cannot be sent is lost: no supervisor is worth a stopped balancer.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping


class Notify:
    """Speaks to the supervisor of this process.

    Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of `environ`, so that the commands of external checks,
    which inherit it, cannot speak in our name.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        name = environ.pop("NOTIFY_SOCKET", "")
        period = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", str(os.getpid()))
        self.address = "\0" + name[1:] if name.startswith("@") else name
        self.watchdog_period = int(period) / 1e6 if period.isdecimal() and pid == str(os.getpid()) else 0.0
        """Seconds within which `alive` must be said; 0.0 = nobody asks."""

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\nSTATUS=reloading")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=stopping")

    def alive(self) -> None:
        if self.watchdog_period:
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self.address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            try:
                sock.sendto(text.encode(), self.address)
            except OSError:
                pass
