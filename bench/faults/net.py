"""Three network namespaces in a row, phones - balancer - servers, and what breaks one leg of it.

They live as long as the holder processes of this one: nothing has a name on the host and nothing is left behind.
Needs root. Never here: what a fault means, who is started inside.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

CLONE_NEWNET = 0x40000000
PHONES, BALANCER, SERVERS = "phones", "balancer", "servers"
CLIENT = "10.71.0.2"
VIRTUAL = "10.71.0.1"
INSIDE = "10.72.0.1"
"""The balancer's address on the servers' leg."""
SERVER_ADDRESSES = ("10.72.0.11", "10.72.0.12", "10.72.0.13", "10.72.0.14")
HOLDER = ("setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity")

TABLE = """table inet faults {
    chain arriving { type filter hook prerouting priority -150; policy accept; }
    chain local { type filter hook input priority 0; policy accept; }
}
"""


class Net:
    """Raises OSError or CalledProcessError where namespaces cannot be made."""

    def __init__(self) -> None:
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self._holders = {role: subprocess.Popen(HOLDER) for role in (PHONES, BALANCER, SERVERS)}
        for holder in self._holders.values():
            _wait_unshared(holder.pid)
        self._join(PHONES, CLIENT, VIRTUAL)
        self._join(SERVERS, SERVER_ADDRESSES[0], INSIDE)
        for address in SERVER_ADDRESSES[1:]:
            self.run(SERVERS, "ip", "address", "add", f"{address}/24", "dev", SERVERS)
        self.run(BALANCER, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        for role in self._holders:
            self.run(role, "nft", "-f", "-", text=TABLE)

    def _join(self, role: str, theirs: str, ours: str) -> None:
        """A veth: `role` sees it under its own name, the balancer as to-ROLE."""
        there, here = self._holders[role].pid, self._holders[BALANCER].pid
        words = f"ip link add {role} netns {there} type veth peer name to-{role} netns {here}"
        subprocess.run(words.split(), check=True)
        for where, device, address in ((role, role, theirs), (BALANCER, f"to-{role}", ours)):
            self.run(where, "ip", "link", "set", "lo", "up")
            self.run(where, "ip", "link", "set", device, "up")
            self.run(where, "ip", "address", "add", f"{address}/24", "dev", device)
        self.run(role, "ip", "route", "add", "default", "via", ours)

    # Working inside.

    def command(self, role: str, words: Sequence[str]) -> list[str]:
        """The same command, inside; its process is the command's own and dies with us."""
        pid = self._holders[role].pid
        return ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/proc/{pid}/ns/net", *words]

    def run(self, role: str, *words: str, text: str | None = None) -> None:
        subprocess.run(self.command(role, words), input=text, text=True, check=True)

    def start(
        self, role: str, words: Sequence[str], out: int | IO[bytes], cwd: Path, talk: bool = False
    ) -> subprocess.Popen[bytes]:
        """A process inside; with `talk` its stdin is ours."""
        stdin = subprocess.PIPE if talk else subprocess.DEVNULL
        return subprocess.Popen(
            self.command(role, words), stdin=stdin, stdout=out, stderr=subprocess.STDOUT, cwd=cwd, bufsize=0
        )

    @contextmanager
    def inside(self, role: str) -> Iterator[None]:
        """This thread, and what it starts, is inside meanwhile."""
        there = os.open(f"/proc/{self._holders[role].pid}/ns/net", os.O_RDONLY)
        try:
            _enter(there)
            yield
        finally:
            _enter(self._home)
            os.close(there)

    # Breaking.

    def rule(self, role: str, chain: str, text: str) -> None:
        """Add an nftables rule; chain `arriving` (all that comes in, forwarded too) or `local` (for this host)."""
        self.run(role, "nft", "add", "rule", "inet", "faults", chain, *text.split())

    def lose(self, leg: str, percent: int, server: str = "") -> None:
        """Lose so much, each way, between the balancer and `leg` (PHONES or SERVERS), or one server of it."""
        chance = "drop" if percent >= 100 else f"numgen random mod 100 < {percent} drop"
        self.rule(leg, "arriving", f"iifname {leg} {f'ip daddr {server} ' if server else ''}{chance}")
        self.rule(BALANCER, "arriving", f"iifname to-{leg} {f'ip saddr {server} ' if server else ''}{chance}")

    def heal(self) -> None:
        """Take every rule back."""
        for role in self._holders:
            self.run(role, "nft", "flush", "table", "inet", "faults")

    def close(self) -> None:
        for holder in self._holders.values():
            holder.kill()
            holder.wait()
        os.close(self._home)


def _wait_unshared(pid: int) -> None:
    """Until the holder has a namespace of its own: it is `unshare` first."""
    home = os.readlink("/proc/self/ns/net")
    deadline = time.monotonic() + 5
    while os.readlink(f"/proc/{pid}/ns/net") == home:
        if time.monotonic() > deadline:
            raise OSError("a network namespace cannot be made")
        time.sleep(0.005)


def _enter(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns failed")
