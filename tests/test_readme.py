"""The README says only what is so: its file is read, its metrics are published, its commands and links exist."""

from __future__ import annotations

import re
from pathlib import Path

from sipbalancer.config.parser import parse

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCES = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "sipbalancer").rglob("*.py"))


def block(opening: str) -> str:
    """The indented block whose first line begins with `opening`."""
    found = re.search(rf"^    {re.escape(opening)}.*\n(?:(?:    .*)?\n)*", README, re.MULTILINE)
    assert found is not None
    return re.sub(r"^    ", "", found[0], flags=re.MULTILINE)


def test_it_opens_with_the_two_commands() -> None:
    assert re.findall(r"^    (.*?)\s*(?:#|$)", README, re.MULTILINE)[:2] == ["make demo", "make test"]


def test_its_file_is_right_and_gives_no_warning() -> None:
    text = block("# pool.cf").partition("\nmake .venv")[0]
    parsed = parse(text, "README.md")
    assert [service.key for service in parsed.config.virtual] == ["192.0.2.10:5060"]
    assert [finding for finding in parsed.warnings if not finding.note] == []


def test_its_metrics_are_published() -> None:
    named = set(re.findall(r"`(sipbalancer_\w+?)(?:_total)?`", README))
    assert named and {name for name in named if f'"{name}"' not in SOURCES} == set()


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links and [link for link in links if not (ROOT / link).exists()] == []


def test_its_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"make ([.a-z]+)", README))
    assert named and {target for target in named if not re.search(rf"^{re.escape(target)}:", makefile, re.M)} == set()
