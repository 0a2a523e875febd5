"""The Dockerfile as one shell script: its steps, in one tree, for a machine without a container engine.

    python3 tests/bare/dockerfile.py Dockerfile | bash -eu

Stages share the tree, so `COPY --from` has nothing to do. After the steps the image's user starts the image's
command on a file of two lines, the HEALTHCHECK is asked until it agrees, and SIGTERM must end it with status 0.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from shlex import join, quote

CONFIG = "metrics = 127.0.0.1:9436\nvirtual = 127.0.0.1:5060\n    real = 127.0.0.2:5060\n"
CONFIG_PATH = "/etc/sipbalancer/sipbalancer.cf"


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """(RUN, its text) for each instruction; continued lines joined, comments dropped."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for logical in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = logical.strip().partition(" ")
        if word:
            yield word, rest.strip()


def copy(rest: str) -> str:
    if rest.startswith("--from="):
        return ": the same tree"
    *sources, target = rest.split()
    listed = join(f"$CONTEXT/{source}" for source in sources).replace("'", '"')
    folder = target if target.endswith("/") or len(sources) > 1 else "$(dirname " + target + ")"
    return f"mkdir -p {folder}; cp -r {listed} {target}"


def words(rest: str) -> list[str]:
    """The JSON form of ENTRYPOINT, CMD and HEALTHCHECK ... CMD."""
    listed: list[str] = json.loads(rest[rest.index("[") :])
    return listed


def step(word: str, rest: str) -> str:
    """One instruction as shell; those that only describe the image say nothing."""
    shell = {"RUN": rest, "COPY": copy(rest), "WORKDIR": f"mkdir -p {rest}; cd {rest}", "ENV": f"export {rest}"}
    return shell.get(word, f": {word}")


def script(text: str) -> str:
    found = list(instructions(text))
    last = dict(found)
    steps = "\n".join(step(word, rest) for word, rest in found)
    as_user = f"setpriv --reuid {last['USER']} --regid {last['USER']} --clear-groups --no-new-privs --bounding-set=-all"
    command = join(words(last["ENTRYPOINT"]) + words(last["CMD"]))
    healthy = join(words(last["HEALTHCHECK"]))
    return f"""CONTEXT=$PWD
{steps}
mkdir -p {Path(CONFIG_PATH).parent}; printf %s {quote(CONFIG)} >{CONFIG_PATH}; chmod 755 {Path(CONFIG_PATH).parent}
cd /
{as_user} {command} & pid=$!
for attempt in $(seq 50); do {as_user} {healthy} 2>/dev/null && break; sleep 0.2; done
{as_user} {healthy}
{as_user} {words(last["ENTRYPOINT"])[0]} status
kill -TERM $pid; wait $pid
"""


if __name__ == "__main__":
    sys.stdout.write(script(Path(sys.argv[1]).read_text(encoding="utf-8")))
