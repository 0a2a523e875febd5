from __future__ import annotations

import json

import pytest

from sipbalancer.director.numbers import Numbers, add_up, numbers_of, set_numbers
from tests.director.stage import A, Stage, answer, request


def busy() -> Stage:
    stage = Stage()
    data, server = stage.sent(request("REGISTER"))
    stage.send(answer(data, 200), server)
    stage.send(b"nonsense", "10.1.0.9:5060")
    return stage


def test_numbers_pass_through_json() -> None:
    numbers = numbers_of(busy().table.state)
    assert json.loads(json.dumps(numbers)) == numbers


def test_a_sum_is_name_by_name() -> None:
    one: Numbers = {"a": 1, "b": {"x": 2}, "c": [1, 2]}
    two: Numbers = {"b": {"x": 3, "y": 4}, "c": [10, 20], "d": 5}
    assert add_up((one, two)) == {"a": 1, "b": {"x": 5, "y": 4}, "c": [11, 22], "d": 5}
    assert one == {"a": 1, "b": {"x": 2}, "c": [1, 2]}, "nothing that came in is changed"
    assert add_up(()) == {}
    with pytest.raises(ValueError, match="not of one kind"):
        add_up(({"a": 1}, {"a": [1]}))


def test_a_state_that_is_given_a_sum_shows_it() -> None:
    stages = [busy(), busy()]
    control = Stage()
    set_numbers(control.table.state, add_up(numbers_of(stage.table.state) for stage in stages))
    mine, theirs = (each.table.snapshot(control.now).services[0] for each in (control, stages[0]))
    assert mine.chosen == {name: 2 * count for name, count in theirs.chosen.items()}
    assert mine.dropped == {name: 2 * count for name, count in theirs.dropped.items()}
    for one, other in zip(mine.servers, theirs.servers, strict=True):
        assert one.requests == {name: 2 * count for name, count in other.requests.items()}
        assert one.responses == {name: 2 * count for name, count in other.responses.items()}


def test_numbers_of_what_is_gone_are_passed_over() -> None:
    stage = Stage()
    set_numbers(stage.table.state, {"services": {"192.0.2.99:5060": {"chosen": {"scheduler": 3}}}})
    set_numbers(stage.table.state, {})
    assert stage.server(A).requests == {}
