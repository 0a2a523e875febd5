"""`registerrate`: what passes, what waits in silence, what is told to come back."""

from __future__ import annotations

from tests.director.stage import A, Stage, real, request, service_of


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


def test_after_eight_seconds_it_is_told_when_to_come_back() -> None:
    stage = _stage()
    _ask(stage, 2)
    assert _ask(stage, 1) == b""
    for step in range(1, 9):
        stage.now += 1.0
        assert _ask(stage, 100 + step).startswith(b"REGISTER"), "others take every token"
        said = _ask(stage, 1)
    assert said.startswith(b"SIP/2.0 503") and b"\r\nRetry-After: " in said


def test_credentials_that_answer_no_challenge_pass_no_sooner() -> None:
    stage = _stage()
    _ask(stage, 1)
    assert _ask(stage, 2, 'Authorization: Digest username="2"') == b""
