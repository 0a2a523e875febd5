"""`registerrate`: what passes, what waits in silence, what is told to come back."""

from __future__ import annotations

from tests.director.stage import A, Stage, lines_of, real, request, service_of


def _stage() -> Stage:
    return Stage(service_of(real(A), registerrate=1.0))


def _ask(stage: Stage, number: int, *more: str) -> bytes:
    """A REGISTER of phone `number`; what came of it."""
    data = request("REGISTER", *more, user=str(number), call=f"r{number}", branch=f"z9hG4bK{number}")
    out = stage.send(data)
    return out[0] if out is not None else b""


def test_beyond_the_rate_a_register_is_met_by_silence_and_its_copy_passes_later() -> None:
    stage = _stage()
    assert _ask(stage, 1).startswith(b"REGISTER")
    assert _ask(stage, 2) == b""
    stage.now += 1.5
    assert _ask(stage, 2).startswith(b"REGISTER")
    assert stage.table.state.lines.waiting() == [], "it is not in line any more"


def _due(stage: Stage, seconds: float) -> list[bytes]:
    """What passes of itself meanwhile: whose."""
    out = [data for _ in range(round(seconds * 20)) for data, _ in stage.due(0.05)]
    return [lines_of(data, "Call-ID")[0].encode() for data in out if lines_of(data, "CSeq") == ["1 REGISTER"]]


def test_it_needs_no_copy_and_nobody_passes_it_in_line() -> None:
    stage = _stage()
    _ask(stage, 1)
    assert (_ask(stage, 2), _ask(stage, 3), _ask(stage, 2)) == (b"", b"", b"")
    stage.now += 1.1
    assert _ask(stage, 4) == b"", "a newcomer waits behind them"
    passed = _due(stage, 3.5)
    assert [each for each in dict.fromkeys(passed) if each != b"r1"] == [b"r2", b"r3", b"r4"]


def test_who_finds_no_place_for_eight_seconds_is_told_when_to_come_back() -> None:
    stage = _stage()
    _ask(stage, 0)
    for number in range(100, 108):
        assert _ask(stage, number) == b""
    assert [_ask(stage, 1)] == [b""]
    for number in range(200, 208):
        stage.now += 1.01
        stage.due()
        _ask(stage, number)
    said = _ask(stage, 1)
    assert said.startswith(b"SIP/2.0 503") and b"\r\nRetry-After: " in said


def test_a_line_is_bounded_in_number_and_octets() -> None:
    stage = _stage()
    for number in range(50):
        _ask(stage, number)
    lines = stage.table.state.lines
    assert len(lines._lines[stage.server(A).number]) == 8
    stage = _stage()
    _ask(stage, 1)
    _ask(stage, 2, "X: " + "x" * 5000)
    assert lines.waiting() and not stage.table.state.lines.waiting()


def test_who_has_given_up_is_not_asked_for() -> None:
    stage = _stage()
    _ask(stage, 1)
    _ask(stage, 2)
    stage.now += 40
    assert _due(stage, 2) == []


def test_credentials_that_answer_no_challenge_pass_no_sooner() -> None:
    stage = _stage()
    _ask(stage, 1)
    assert _ask(stage, 2, 'Authorization: Digest username="2"') == b""
