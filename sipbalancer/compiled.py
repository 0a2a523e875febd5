"""What this installation runs: `sip` and `director` as they are, or compiled by mypyc (see `setup.py`)."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:

    def mypyc_attr(**_: bool) -> Any:
        """What mypyc reads when it compiles a class; nothing at run time, so that its package is not needed there."""
        return lambda kind: kind


__all__ = ["compiled", "mypyc_attr", "runs"]


def compiled() -> bool:
    """Whether the way of the datagrams is compiled."""
    spec = find_spec("sipbalancer.director.forwarder")
    return spec is not None and (spec.origin or "").endswith(tuple(EXTENSION_SUFFIXES))


def runs() -> str:
    """`compiled()` in a word, for the operator."""
    return "compiled" if compiled() else "interpreted"
