"""The newest rows of each kind in bench/results: what the tables and the pictures are made of."""

from __future__ import annotations

from typing import TypeVar

from bench import rows
from bench.flat_rows import CostRow, MemoryRow
from bench.overload import Row as StormRow
from bench.pool_rows import PoolRow
from bench.rows import Row
from bench.worker_rows import WorkerRow

K = TypeVar("K")


class Kept:
    """Empty where there are none."""

    def __init__(self) -> None:
        self.speed: list[Row] = self._of("speed", Row)
        self.flat: list[CostRow] = self._of("flat", CostRow)
        self.memory: list[MemoryRow] = self._of("memory", MemoryRow)
        self.pool: list[PoolRow] = self._of("pool", PoolRow)
        self.workers: list[WorkerRow] = self._of("workers", WorkerRow)
        self.overload: list[StormRow] = self._of("overload", StormRow)

    @staticmethod
    def _of(kind: str, row: type[K]) -> list[K]:
        path = rows.newest(kind)
        return list(rows.read_as(path, row)) if path else []
