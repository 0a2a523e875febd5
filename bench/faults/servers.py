"""Three real Asterisks in their namespace: made from the samples, and what can be done to one of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from bench.faults.net import SERVER_ADDRESSES, SERVERS, VIRTUAL, Net
from bench.faults.work import come_first
from sipbalancer.demo.asterisk import Instance, Tree, User

FIRST_NUMBER = 1001
ECHO = "600"
FULL = "634"
"""Answers 503 to each call, as a server whose trunks are full."""
JOIN = "5"
"""Before a phone's number: calls that phone, and shows it the Call-ID of the caller's dialog as the caller's name."""
EXTENSIONS = f"""
[phones](+)
exten => {FULL},1,Hangup(34)
exten => _{JOIN}1XXX,1,Set(CALLERID(name)=${{CHANNEL(pjsip,call-id)}})
 same => n,Dial(PJSIP/${{EXTEN:1}},60)
 same => n,Hangup(19)
"""
CHECKOUT = Path(__file__).parent.parent.parent


class Trio:
    """`proxy`: what the servers are told of as outbound_proxy; "" for none (the Path alone shows the way)."""

    def __init__(
        self, net: Net, tree: Tree, folder: Path, phones: int, *, outbound_proxy: bool, count: int = 3
    ) -> None:
        self._net = net
        endpoint = () if outbound_proxy else ("outbound_proxy=",)
        users = [User(str(n), f"secret{n}", endpoint) for n in range(FIRST_NUMBER, FIRST_NUMBER + phones)]
        self.instances = [
            Instance(tree, folder / f"a{index + 1}", f"a{index + 1}", address, VIRTUAL, users)
            for index, address in enumerate(SERVER_ADDRESSES[:count])
        ]
        self.names = {instance.address: instance.name for instance in self.instances}
        self._shim: subprocess.Popen[bytes] | None = None
        self._ended: set[int] = set()

    def start(self) -> None:
        for instance in self.instances:
            instance.write()
            with (instance.folder / "etc" / "extensions.conf").open("a") as extensions:
                extensions.write(EXTENSIONS)
            self._start(instance)
        for instance in self.instances:
            instance.wait()

    def _start(self, instance: Instance) -> None:
        with self._net.inside(SERVERS):
            instance.start()
        come_first(instance.pid)

    def restart(self, index: int) -> None:
        """Again, when it is dead; waits until it is fully booted."""
        if not self.instances[index].alive():
            self._start(self.instances[index])
        self.instances[index].wait()

    def kill(self, index: int) -> None:
        self._ended.add(index)
        self.instances[index].kill()

    def drain(self, index: int) -> None:
        """`core stop gracefully`."""
        self._ended.add(index)
        self.instances[index].drain()

    def crashed(self) -> list[str]:
        """Those that ended and should not have: such a run says nothing of a balancer."""
        return [
            instance.name
            for index, instance in enumerate(self.instances)
            if index not in self._ended and not instance.alive()
        ]

    def stop(self, index: int) -> None:
        """SIGSTOP: it is there and does nothing."""
        os.kill(self.instances[index].pid, signal.SIGSTOP)

    def go_on(self, index: int) -> None:
        os.kill(self.instances[index].pid, signal.SIGCONT)

    def slow(self, index: int, seconds: float) -> None:
        """All that leaves this server does so later (slow.py)."""
        address = self.instances[index].address
        words = [sys.executable, "-m", "bench.faults.slow", address, str(seconds)]
        self._shim = self._net.start(SERVERS, words, subprocess.DEVNULL, CHECKOUT)

    def quick_again(self) -> None:
        if self._shim is not None:
            self._shim.terminate()
            self._shim.wait()
            self._shim = None

    def channels(self) -> dict[str, int]:
        """Channels still up on each server that lives: calls nobody ended."""
        found: dict[str, int] = {}
        for instance in self.instances:
            if instance.alive():
                match = re.search(r"(\d+) active channel", instance.cli("core show channels count"))
                found[instance.name] = int(match[1]) if match else 0
        return found

    def executed(self, number: str) -> int:
        """How often the dialplan of any server began with that number."""
        mark = f"Executing [{number}@phones:1]"
        return sum(instance.log.read_text(errors="replace").count(mark) for instance in self.instances)

    def pids(self) -> list[int]:
        return [instance.pid for instance in self.instances if instance.alive()]

    def close(self) -> None:
        self.quick_again()
        for instance in self.instances:
            instance.kill()
