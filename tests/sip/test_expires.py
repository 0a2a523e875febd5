"""Lives in a 2xx to REGISTER: lowered, never raised, nothing else touched."""

from __future__ import annotations

import pytest

from sipbalancer.sip.expires import LEAST, lower_expires, spread


def answer(*headers: str, body: str = "") -> bytes:
    return "\r\n".join(("SIP/2.0 200 OK", "Via: SIP/2.0/UDP 10.1.0.1", *headers, "", body)).encode()


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        ("Expires: 3600", "Expires: 300"),
        ("expires :  3600", "expires :  300"),
        ("Expires: 60", "Expires: 60"),
        ("Expires: 0", "Expires: 0"),
        ("Expires: soon", "Expires: soon"),
        ("Contact: <sip:1@10.1.0.1>;expires=3600", "Contact: <sip:1@10.1.0.1>;expires=300"),
        ("m: <sip:1@10.1.0.1>; Expires = 3600;q=1", "m: <sip:1@10.1.0.1>; Expires = 300;q=1"),
        (
            "Contact: <sip:1@h>;expires=900, <sip:2@h>;expires=60",
            "Contact: <sip:1@h>;expires=300, <sip:2@h>;expires=60",
        ),
        ("Contact: <sip:1@h>,\r\n <sip:2@h>;expires=900", "Contact: <sip:1@h>,\r\n <sip:2@h>;expires=300"),
        ("Contact: <sip:1@h>;expires=0", "Contact: <sip:1@h>;expires=0"),
        ("X-Contact: <sip:1@h>;expires=900", "X-Contact: <sip:1@h>;expires=900"),
        ("Min-Expires: 900", "Min-Expires: 900"),
        ("Expires: 99999999999", "Expires: 99999999999"),
    ],
)
def test_no_life_is_longer_and_none_is_raised(said: str, becomes: str) -> None:
    assert lower_expires(answer(said, "Content-Length: 0"), 300) == answer(becomes, "Content-Length: 0")


def test_a_body_is_not_read() -> None:
    whole = answer("Content-Length: 15", body="\r\nExpires: 3600")
    assert lower_expires(whole, 300) == whole


def test_lives_are_spread_over_a_tenth_and_equal_for_the_same_phone() -> None:
    lives = {spread(600, salt) for salt in range(1000)}
    assert (min(lives), max(lives), len(lives)) == (540, 600, 61)
    assert spread(600, 12345) == spread(600, 12345)


def test_no_life_is_spread_below_the_least() -> None:
    assert {spread(LEAST, salt) for salt in range(100)} == {LEAST}
