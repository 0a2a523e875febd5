"""The house keeps its shape: who imports whom, what the pure parts never touch, what each module owes.

Read from the source with `ast`; nothing here runs the package, save the two tables compared at the end.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "sipbalancer"

MAY_IMPORT = {
    "errors": set[str](),
    "compiled": set[str](),
    "sip": {"errors"},
    "config": {"errors"},
    "director": {"errors", "sip", "config", "compiled"},
    "daemon": {"errors", "sip", "config", "director", "compiled", "__init__"},
    # The demo speaks SIP in its own words: sharing the balancer's scanner would share its mistakes.
    "demo": {"errors", "config", "daemon"},
    "cli": {"errors", "sip", "config", "director", "daemon", "demo", "compiled", "__init__"},
    "__main__": {"cli"},
    "__init__": set[str](),
}
"""Part -> the other parts it may know. errors <- sip, config <- director <- daemon <- cli."""

CONFIG_VALUES = {"sipbalancer.config.model", "sipbalancer.config.diff"}
"""All that the director may know of the file: values, never how they are written."""

PURE = ("sip", "config", "director")
IMPURE_MODULES = {
    *("asyncio", "socket", "select", "selectors", "ssl", "signal", "threading", "subprocess", "concurrent"),
    *("time", "datetime", "random", "secrets", "uuid", "logging", "os", "pathlib", "sys", "mmap", "fcntl", "io"),
    *("uvloop", "asyncio_dgram", "aiohttp", "prometheus_client", "cffi", "rich", "dns"),
}
IMPURE_CALLS = {"open", "print", "input"}

MIRRORED = ("sip", "config", "director", "daemon")
NO_TEST_OF_ITS_OWN = {
    "director/snapshot.py": "plain values, no behaviour",
    "director/verdict.py": "plain values, no behaviour",
}
SHAPELESS_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc", "base"}
MODULE_LINES = 400
FUNCTION_LINES = 60
MEDIAN_FUNCTION_LINES = 12


class Import(NamedTuple):
    """One imported module, in full (`sipbalancer.sip.scan`), and where it is asked for."""

    module: str
    place: str


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def within(part: str) -> list[Path]:
    return sorted((PACKAGE / part).rglob("*.py"))


def part_of(path: Path) -> str:
    """`sip` for sipbalancer/sip/scan.py, `cli` for sipbalancer/cli.py."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[Import]:
    """Every import of a module, also those inside functions and under TYPE_CHECKING."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, f"{shown(path)}:{node.lineno}")
        elif isinstance(node, ast.ImportFrom):
            origin = absolute(path, node)
            for alias in node.names:
                yield Import(full_name(origin, alias.name), f"{shown(path)}:{node.lineno}")


def absolute(path: Path, node: ast.ImportFrom) -> str:
    """The module that `from ... import` names, with leading dots resolved."""
    if not node.level:
        return node.module or ""
    package = path.relative_to(ROOT).parts[: -node.level]
    return ".".join((*package, *filter(None, [node.module])))


def full_name(origin: str, name: str) -> str:
    """`from sipbalancer.sip import scan` means the module sipbalancer.sip.scan, `from m import CONSTANT` means m."""
    candidate = ROOT.joinpath(*origin.split("."), name)
    is_module = origin.startswith("sipbalancer") and (candidate.is_dir() or candidate.with_suffix(".py").exists())
    return f"{origin}.{name}" if is_module else origin


def own_part(module: str) -> str | None:
    """The part of ours that an imported module lies in; None for other people's."""
    first, _, rest = module.partition(".")
    if first != "sipbalancer":
        return None
    return rest.partition(".")[0] or "__init__"


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """(place, lines) of every function: its own lines, without decorators and docstring."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{shown(path)}:{node.lineno} {node.name}", length(node)


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    lines = node.end_lineno - node.lineno + 1
    opening = node.body[0]
    if ast.get_docstring(node) is not None and opening.end_lineno is not None:
        lines -= opening.end_lineno - opening.lineno + 1
    return lines


def test_imports_go_one_way() -> None:
    wrong = [
        f"{found.place}: {part_of(path)} imports {found.module}"
        for path in modules()
        for found in imports(path)
        if (part := own_part(found.module)) is not None
        and part != part_of(path)
        and part not in MAY_IMPORT[part_of(path)]
    ]
    assert wrong == []


def test_the_director_knows_the_values_of_the_file_and_not_its_grammar() -> None:
    wrong = [
        f"{found.place}: {found.module}"
        for path in within("director")
        for found in imports(path)
        if own_part(found.module) == "config" and found.module not in CONFIG_VALUES
    ]
    assert wrong == []


@pytest.mark.parametrize("part", PURE)
def test_pure_parts_import_no_clock_socket_chance_or_log(part: str) -> None:
    wrong = [
        f"{found.place}: {found.module}"
        for path in within(part)
        for found in imports(path)
        if found.module.partition(".")[0] in IMPURE_MODULES
    ]
    assert within(part) and wrong == []


@pytest.mark.parametrize("part", PURE)
def test_pure_parts_open_and_print_nothing(part: str) -> None:
    wrong = [
        f"{shown(path)}:{node.lineno}: {node.func.id}()"
        for path in within(part)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS
    ]
    assert wrong == []


def owed_tests() -> dict[str, Path]:
    """`sip/scan.py` -> tests/sip/test_scan.py, for every module that owes a test."""
    return {
        path.relative_to(PACKAGE).as_posix(): ROOT / "tests" / part / f"test_{path.name}"
        for part in MIRRORED
        for path in within(part)
        if path.name != "__init__.py"
    }


def test_every_module_has_its_test() -> None:
    missing = {module for module, test in owed_tests().items() if not test.exists()}
    assert sorted(missing - set(NO_TEST_OF_ITS_OWN)) == []


def test_no_exemption_outlives_its_reason() -> None:
    owed = owed_tests()
    assert [module for module in NO_TEST_OF_ITS_OWN if module not in owed or owed[module].exists()] == []


def test_packages_hold_no_code_in_their_init() -> None:
    wrong = [shown(path) for part in MIRRORED for path in within(part) if path.name == "__init__.py" and has_code(path)]
    assert wrong == []


def has_code(path: Path) -> bool:
    """Whether anything but a docstring stands there."""
    return any(not isinstance(node, ast.Expr) for node in tree(path).body)


def test_every_module_is_named_for_what_it_holds() -> None:
    assert [shown(path) for path in modules() if path.stem in SHAPELESS_NAMES] == []


def test_every_module_opens_with_its_contract() -> None:
    assert [shown(path) for path in modules() if not ast.get_docstring(tree(path))] == []


def test_no_module_is_long() -> None:
    lengths = {shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert {path: lines for path, lines in lengths.items() if lines > MODULE_LINES} == {}


def test_no_function_is_long_and_most_are_short() -> None:
    lengths = [found for path in modules() for found in functions(path)]
    assert [found for found in lengths if found[1] > FUNCTION_LINES] == []
    assert median(lines for _, lines in lengths) <= MEDIAN_FUNCTION_LINES


def test_every_scheduler_word_has_its_function() -> None:
    from sipbalancer.config.model import Scheduler
    from sipbalancer.director.scheduler import SCHEDULERS

    assert set(SCHEDULERS) == set(Scheduler)
