"""Everything one address of this namespace sends leaves later: a TUN device as a waiting room, where netem is missing.

    python -m bench.faults.slow 10.72.0.11 0.8     (as root, inside the namespace; undone by SIGTERM)

Packets of that source are routed into the device (policy routing), kept, written back in their order, and then take
the main table's way.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections import deque
from types import FrameType

DEVICE = "waiting"
ROOM = "100"
"""Number of the routing table."""
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


def open_device(address: str) -> int:
    """The device's file; everything from `address` comes in there and may leave again as from outside."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    settings = f"/proc/sys/net/ipv4/conf/{DEVICE}"
    for setting, value in (("accept_local", "1"), ("rp_filter", "0")):
        with open(f"{settings}/{setting}", "w") as file:
            file.write(value)
    with open("/proc/sys/net/ipv4/ip_forward", "w") as file:
        file.write("1")
    for words in (
        f"link set {DEVICE} up",
        f"route add default dev {DEVICE} table {ROOM}",
        f"rule add iif {DEVICE} lookup main priority 90",
        f"rule add from {address} lookup {ROOM} priority 100",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    return device


def close_room(address: str) -> None:
    for words in (f"rule del from {address} lookup {ROOM}", f"rule del iif {DEVICE} lookup main"):
        subprocess.run(["ip", *words.split()], check=True)


def delay(device: int, seconds: float) -> None:
    """Until SystemExit."""
    waiting: deque[tuple[float, bytes]] = deque()
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        if select.select([device], [], [], pause)[0]:
            waiting.append((time.monotonic() + seconds, os.read(device, 65536)))
        while waiting and waiting[0][0] <= time.monotonic():
            os.write(device, waiting.popleft()[1])


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def main() -> None:
    address, seconds = sys.argv[1], float(sys.argv[2])
    signal.signal(signal.SIGTERM, _leave)
    device = open_device(address)
    try:
        delay(device, seconds)
    finally:
        close_room(address)


if __name__ == "__main__":
    main()
