"""Digest against the example of RFC 2617 3.5, and against itself."""

from __future__ import annotations

from sipbalancer.demo import digest

RFC_EXAMPLE = {
    "username": "Mufasa",
    "realm": "testrealm@host.com",
    "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093",
    "uri": "/dir/index.html",
    "qop": "auth",
    "nc": "00000001",
    "cnonce": "0a4f113b",
}


def test_the_example_of_the_rfc() -> None:
    assert digest.expected(RFC_EXAMPLE, "Circle Of Life", "GET") == "6629fae49393a05397450978507c4ef1"


def test_credentials_answer_a_challenge() -> None:
    asked = digest.parse(digest.challenge("demo", "n0nce", stale=False))
    given = digest.parse(digest.credentials(asked, "1001", "one", "REGISTER", "sip:x", 1, "c"))
    assert digest.matches(given, "one", "REGISTER")
    assert not digest.matches(given, "two", "REGISTER")
    assert not digest.matches(given, "one", "INVITE")


def test_without_qop_as_rfc_2069() -> None:
    asked = digest.parse('Digest realm="demo", nonce="n", opaque="o"')
    given = digest.parse(digest.credentials(asked, "1001", "one", "REGISTER", "sip:x", 1, "c"))
    assert "nc" not in given
    assert given["opaque"] == "o"
    assert digest.matches(given, "one", "REGISTER")


def test_nothing_matches_nothing() -> None:
    assert not digest.matches(digest.parse(""), "one", "REGISTER")
