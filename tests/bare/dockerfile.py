"""The Dockerfile as two shell scripts, for a machine without a container engine.

python3 tests/bare/dockerfile.py build Dockerfile    its steps; stages share one tree, so `COPY --from` does nothing
python3 tests/bare/dockerfile.py start Dockerfile    the image's command, as the image's user, on a small file:
                                                     the HEALTHCHECK must agree, SIGTERM must end it with status 0
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


def build(text: str) -> str:
    return "\n".join(["CONTEXT=$PWD", *(step(word, rest) for word, rest in instructions(text)), ""])


def start(text: str) -> str:
    found = list(instructions(text))
    last = dict(found)
    settings = "\n".join(step(word, rest) for word, rest in found if word == "ENV")
    as_user = f"setpriv --reuid {last['USER']} --regid {last['USER']} --clear-groups --no-new-privs --bounding-set=-all"
    entry = words(last["ENTRYPOINT"])
    healthy = f"{as_user} {join(words(last['HEALTHCHECK']))}"
    return f"""{settings}
mkdir -p {Path(CONFIG_PATH).parent}; printf %s {quote(CONFIG)} >{CONFIG_PATH}
install -d -o {last["USER"]} -g {last["USER"]} /run/sipbalancer
cd /
{as_user} {join(entry + words(last["CMD"]))} & pid=$!
for attempt in $(seq 50); do {healthy} 2>/dev/null && break; sleep 0.2; done
{healthy}
{as_user} {join(entry)} status
kill -TERM $pid; wait $pid
"""


if __name__ == "__main__":
    script = {"build": build, "start": start}[sys.argv[1]]
    sys.stdout.write(script(Path(sys.argv[2]).read_text(encoding="utf-8")))
