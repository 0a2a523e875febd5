"""What the fuzzer's worlds do, step by step, as text that two processes can compare: one runs the source, the other
what mypyc made of it.

    python -m tests.compiled.transcript FIRST_SEED WORLDS STEPS

prints `runs compiled` or `runs interpreted`, then one line per step: seed, step and a digest of all that was sent until
then, of the counters, and of what was raised. The same seeds must give the same lines; PYTHONHASHSEED must be set.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from hashlib import blake2b
from random import Random

from sipbalancer.compiled import runs
from tests.fuzz.fuzz_forwarder import World


def lines(seed: int, steps: int) -> Iterator[str]:
    """One world. What a step raises is part of the transcript, and ends it: a broken world has nothing more to say."""
    world, digest = World(Random(seed)), blake2b(digest_size=8)
    for step in range(steps):
        fault = ""
        try:
            world.step()
        except Exception as error:
            fault = f" {type(error).__name__}: {error}"
        digest.update(repr(world.sent).encode())
        digest.update(repr(shown(world)).encode())
        yield f"{seed} {step} {digest.hexdigest()}{fault}"
        if fault:
            return


def shown(world: World) -> tuple[object, ...]:
    """The counters, and the faults that the forwarder kept to itself."""
    state = world.table.state
    services = [(service.dropped, service.chosen) for service in state.services.values()]
    servers = [(each.name, each.transactions, each.health.verdict.value) for each in state.servers]
    return services, servers, state.internal_errors, state.last_error


def main(first: int, worlds: int, steps: int) -> None:
    sys.stdout.write(f"runs {runs()}\n")
    for seed in range(first, first + worlds):
        sys.stdout.writelines(f"{line}\n" for line in lines(seed, steps))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
