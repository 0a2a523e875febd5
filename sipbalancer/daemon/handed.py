"""What passes between the control process and its workers, as the JSON values that a link carries, and back."""

from __future__ import annotations

from collections.abc import Iterable

from sipbalancer.config.model import Config
from sipbalancer.daemon.link import Body, as_bytes, as_text
from sipbalancer.director.bindings import BindingRow
from sipbalancer.director.crossing import Answered, Moved

Crossed = tuple[list[Answered], list[bytes], list[Moved]]
"""As `Crossings.take` gives it."""


def config_body(config: Config, workers: int) -> Body:
    """What forwards, and of each rate a worker's share; where words stand in the file is left out."""
    virtual = tuple(
        service.model_copy(update={"registerrate": service.registerrate / workers}) for service in config.virtual
    )
    return _without_lines(config.model_copy(update={"virtual": virtual}).model_dump(warnings="none"))


def config_of(body: Body) -> Config:
    return Config.model_validate(body)


def _without_lines(value: Body) -> Body:
    if isinstance(value, dict):
        return {name: _without_lines(each) for name, each in value.items() if name != "lines"}
    if isinstance(value, list | tuple):
        return [_without_lines(each) for each in value]
    return value


def rows_body(rows: Iterable[BindingRow]) -> Body:
    return [(*row[:3], as_text(row.client), *row[4:]) for row in rows]


def rows_of(body: Body) -> list[BindingRow]:
    return [
        BindingRow(virtual, aor, contact, as_bytes(client), server, expires)
        for virtual, aor, contact, client, server, expires in body
    ]


def crossed_body(crossed: Crossed) -> Body:
    answered, taken, moved = crossed
    return (
        [(as_text(each.key), each.status, as_text(each.data)) for each in answered],
        [as_text(key) for key in taken],
        [(each.key, as_text(each.client)) for each in moved],
    )


def crossed_of(body: Body) -> Crossed:
    answered, taken, moved = body
    return (
        [Answered(as_bytes(key), status, as_bytes(data)) for key, status, data in answered],
        [as_bytes(key) for key in taken],
        [Moved(key, as_bytes(client)) for key, client in moved],
    )
