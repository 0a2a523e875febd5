"""The kernel's interpreter of classic BPF, as far as our programs go (linux/Documentation/networking/filter.rst)."""

from __future__ import annotations

from sipbalancer.daemon import socket_filter as bpf


def verdict(program: bpf.Program, network: bytes, udp: bytes, random: int = 0) -> int:
    """What the program returns for a datagram: `network` is its IP header, `udp` the UDP header and all behind it."""
    accumulator, at = 0, 0
    while True:
        code, hit, miss, operand = program[at]
        at += 1
        if code == bpf.RETURN:
            return operand
        if code == bpf.LOAD_LENGTH:
            accumulator = len(udp)
        elif code == bpf.LOAD_WORD:
            if operand == bpf.RANDOM:
                accumulator = random
                continue
            inside = operand >= bpf.NETWORK_HEADER
            memory, offset = (network, operand - bpf.NETWORK_HEADER) if inside else (udp, operand)
            if offset + 4 > len(memory):
                return 0
            accumulator = int.from_bytes(memory[offset : offset + 4])
        elif code == bpf.JUMP_IF_EQUAL:
            at += hit if accumulator == operand else miss
        elif code == bpf.JUMP_IF_AT_LEAST:
            at += hit if accumulator >= operand else miss
        else:
            raise AssertionError(f"no such instruction: {code:#x}")
