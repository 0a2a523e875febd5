"""The memory of a pin table around its slots: the header, what may be believed of it, how many slots there is room for.

magic (8) | version (4) | slots (4) | check of the secret (8) | born, epoch seconds (8) | mark (`epoch`)
from 128 on: names of servers | slots of 16 bytes, in buckets of 8
"""

from __future__ import annotations

import struct

from sipbalancer.director.server_names import NAMES_SIZE

MAGIC = b"sipbpins"
VERSION = 1

HEAD = struct.Struct("=8sII8s")
BORN = struct.Struct("=d")
BORN_AT = HEAD.size
HEAD_SIZE = 128
HEADER_SIZE = HEAD_SIZE + NAMES_SIZE
SLOT_SIZE = 16
WAYS = 8


def slots_in(size: int) -> int:
    """How many slots so many bytes have room for, a power of two. ValueError for less than two buckets."""
    room = (size - HEADER_SIZE) // SLOT_SIZE
    if room < 2 * WAYS:
        raise ValueError(f"a pin table needs at least {HEADER_SIZE + 2 * WAYS * SLOT_SIZE} bytes, not {size}")
    return 1 << room.bit_length() - 1


def judge(memory: memoryview, slots: int, key_check: bytes) -> tuple[bool, str]:
    """Whether the pins in this memory can be used, and why not ("" for memory that was never used)."""
    magic, version, had, check = HEAD.unpack_from(memory)
    if magic == bytes(8):
        return False, ""
    if magic != MAGIC:
        return False, "not a pin table"
    if version != VERSION:
        return False, f"written by version {version} of the pin table, this is version {VERSION}"
    if had != slots:
        return False, f"made with {had} slots, now {slots}"
    if check != key_check:
        return False, "made under another secret"
    return True, ""


def clear(memory: memoryview) -> None:
    """Zero everything, the magic first: a table that was cleared halfway is a new one, not a wrong one."""
    step = 1 << 20
    zeros = bytes(step)
    for start in range(0, len(memory), step):
        part = memory[start : start + step]
        part[:] = zeros[: len(part)]
