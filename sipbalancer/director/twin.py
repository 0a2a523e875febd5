"""Copies of the director's objects, as `copy` makes them, also of those whose classes mypyc has compiled.

A compiled object has no `__dict__`: its class names the attributes in `__mypyc_attrs__`, and must be marked with
`mypyc_attr(allow_interpreted_subclasses=True)`, or its `__new__` calls `__init__`. Off the way of datagrams.
"""

from __future__ import annotations

from collections import deque
from copy import copy, deepcopy
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

Memo = dict[int, Any]
"""id of an object -> its copy, as `copy.deepcopy` keeps it. Who puts something in says what stands for an object."""

_ATOMS = frozenset((int, float, bool, str, bytes, type(None), type, FunctionType))


def twin(value: Any) -> Any:
    """Another object of ours with the same attributes."""
    made = _new(type(value))
    for name in _attributes(value):
        setattr(made, name, getattr(value, name))
    return made


def deep_twin(value: Any, memo: Memo) -> Any:
    """The same with all it leads to."""
    if type(value) in _ATOMS or isinstance(value, Enum):
        return value
    known = memo.get(id(value))
    if known is not None:
        return known
    if isinstance(value, (tuple, frozenset)):
        return _sealed(value, memo)
    if isinstance(value, (dict, list, deque, set)):
        return _holder(value, memo)
    if isinstance(value, (MethodType, BuiltinFunctionType)):
        return _method(value, memo)
    return _object(value, memo)


def _new(kind: Any) -> Any:
    return kind.__new__(kind)


def _sealed(value: Any, memo: Memo) -> Any:
    items = [deep_twin(each, memo) for each in value]
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def _holder(value: Any, memo: Memo) -> Any:
    made = memo[id(value)] = copy(value)
    made.clear()
    if isinstance(value, dict):
        made.update((deep_twin(key, memo), deep_twin(each, memo)) for key, each in value.items())
    elif isinstance(value, set):
        made.update(deep_twin(each, memo) for each in value)
    else:
        made.extend(deep_twin(each, memo) for each in value)
    return made


def _method(value: Any, memo: Memo) -> Any:
    """Bound to the copy of what it was bound to; a function of a module stays."""
    owner = value.__self__
    if isinstance(owner, ModuleType) or not _attributes(owner):
        return value
    return getattr(deep_twin(owner, memo), value.__name__)


def _object(value: Any, memo: Memo) -> Any:
    names = _attributes(value)
    if not names or hasattr(value, "__deepcopy__"):
        return deepcopy(value, memo)
    made = memo[id(value)] = _new(type(value))
    for name in names:
        setattr(made, name, deep_twin(getattr(value, name), memo))
    return made


def _attributes(value: Any) -> list[str]:
    """Those that are set; none of what is no object of ours."""
    kind = type(value)
    names = getattr(kind, "__mypyc_attrs__", None)
    if names is None:
        names = [slot for each in kind.__mro__ for slot in getattr(each, "__slots__", ())]
        names += getattr(value, "__dict__", ())
    return [name for name in names if not name.startswith("__") and hasattr(value, name)]
