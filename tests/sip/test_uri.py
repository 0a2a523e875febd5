"""URIs, name-addrs, parameters and lists of values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.uri import (
    addr_spec,
    parameter,
    parameters,
    read_place,
    read_uri,
    split_values,
    unescape,
)

NASTY = st.lists(st.sampled_from([b'"', b"\\", b"<", b">", b",", b";", b" ", b"\r\n ", b"a", b"=", b"@", b"\xff"]))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (b"sip:1001@PBX.Example.com", (b"1001", b"pbx.example.com", 5060, b"")),
        (b"sip:%31001@h:5070;lr?a=b", (b"1001", b"h", 5070, b";lr")),
        (b"sips:a:secret@h", (b"a", b"h", 5060, b"")),
        (b"sip:h", (b"", b"h", 5060, b"")),
        (b"sip:a@[2001:DB8::1]", (b"a", b"[2001:db8::1]", 5060, b"")),
        (b"sip:a@[2001:db8:0:0:0:0:0:1]:5061", (b"a", b"[2001:db8::1]", 5061, b"")),
        (b"sip:a;phone-context=x@h", (b"a;phone-context=x", b"h", 5060, b"")),
    ],
)
def test_the_parts_of_a_uri(text: bytes, read: tuple[bytes, bytes, int, bytes]) -> None:
    assert read_uri(text) == read
    assert read_uri(text).place == read[1:3]


@pytest.mark.parametrize(
    "text", [b"", b"sip:", b"tel:1", b"sip:h:65536", b"sip:a@", b"sip:a b@h", b"<sip:h>", b"*", b"sip:" + b"h" * 2048]
)
def test_what_is_no_sip_uri(text: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_uri(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"PBX.example.com", (b"pbx.example.com", 5060)),
        (b"h : 5070", (b"h", 5070)),
        (b"[::1]:5070", (b"[::1]", 5070)),
        (b"[0:0::1]", (b"[::1]", 5060)),
        (b"192.0.2.1", (b"192.0.2.1", 5060)),
    ],
)
def test_places(text: bytes, place: tuple[bytes, int]) -> None:
    assert read_place(text) == place


@pytest.mark.parametrize("text", [b"", b":5060", b"h:", b"h:x", b"h:65536", b"a:b:c", b"::1"])
def test_what_is_no_place(text: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_place(text)


@pytest.mark.parametrize(
    ("text", "plain"),
    [(b"a%20b", b"a b"), (b"%41%62", b"Ab"), (b"%", b"%"), (b"%4", b"%4"), (b"%zz", b"%zz"), (b"%%41", b"%A")]
    + [(b"% 1", b"% 1"), (b"%+1", b"%+1"), (b"%-1", b"%-1"), (b"%1_", b"%1_"), (b"", b"")],
)
def test_escapes(text: bytes, plain: bytes) -> None:
    assert unescape(text) == plain


@pytest.mark.parametrize(
    ("value", "uri", "params"),
    [
        (b"<sip:a@h;lr>;tag=1", b"sip:a@h;lr", b";tag=1"),
        (b"sip:a@h;tag=1", b"sip:a@h", b";tag=1"),
        (b"sip:a@h", b"sip:a@h", b""),
        (b'"x <sip:no>;tag=no" <sip:a@h>;tag=1', b"sip:a@h", b";tag=1"),
        (b'"a \\" <b>" < sip:a@h > ;tag=1', b"sip:a@h", b" ;tag=1"),
        (b"Bob <sip:a@h>", b"sip:a@h", b""),
        (b"", b"", b""),
    ],
)
def test_name_addrs(value: bytes, uri: bytes, params: bytes) -> None:
    assert (addr_spec(value), parameters(value)) == (uri, params)


@pytest.mark.parametrize("value", [b"<sip:a@h", b'"open <sip:a@h>', b'"open \\'])
def test_what_is_no_name_addr(value: bytes) -> None:
    with pytest.raises(MalformedMessage):
        addr_spec(value)


@pytest.mark.parametrize(
    ("params", "name", "value"),
    [
        (b";a=1;b=2", b"b", b"2"),
        (b" ; A = 1 ;b", b"a", b"1"),
        (b";b", b"b", b""),
        (b";b=", b"b", b""),
        (b";ab=1", b"b", None),
        (b';x=";b=no";b=yes', b"b", b"yes"),
        (b"", b"b", None),
        (b";a" * 63 + b";b=1", b"b", b"1"),
        (b";a" * 64 + b";b=1", b"b", None),
    ],
)
def test_a_parameter(params: bytes, name: bytes, value: bytes | None) -> None:
    assert parameter(params, name) == value


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        (b"a, b ,c", [b"a", b"b", b"c"]),
        (b"<a,b>,c", [b"<a,b>", b"c"]),
        (b'"a,\\",b" <c>,d', [b'"a,\\",b" <c>', b"d"]),
        (b'<a">,b', [b'<a">', b"b"]),
        (b",, ,a,", [b"a"]),
        (b"", []),
        (b'"open, to the end', [b'"open, to the end']),
        (b"<open, to the end", [b"<open, to the end"]),
        (b'"\\', [b'"\\']),
    ],
)
def test_elements_of_a_list(value: bytes, elements: list[bytes]) -> None:
    assert [value[start:stop] for start, stop in split_values(value)] == elements


def split_by_hand(value: bytes) -> list[bytes]:
    """Octet by octet, as the grammar is told."""
    elements, now, quoted, angle, escaped = [], b"", False, False, False
    for octet in (value[at : at + 1] for at in range(len(value))):
        if octet == b"," and not quoted and not angle:
            elements.append(now.strip(b" \t\r\n"))
            now = b""
            continue
        now += octet
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = octet == b"\\", octet != b'"'
        elif angle:
            angle = octet != b">"
        else:
            quoted, angle = octet == b'"', octet == b"<"
    return [element for element in [*elements, now.strip(b" \t\r\n")] if element]


@given(NASTY.map(b"".join))
def test_elements_are_split_as_by_hand(value: bytes) -> None:
    assert [value[start:stop] for start, stop in split_values(value)] == split_by_hand(value)


@given(st.one_of(NASTY.map(b"".join), st.binary(max_size=60)))
def test_nothing_but_malformed_message_is_raised(value: bytes) -> None:
    for read in (read_uri, read_place, addr_spec, parameters, split_values, unescape):
        try:
            read(value)
        except MalformedMessage:
            continue
    parameter(value, b"tag")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece", [b" ", b"; ", b'"', b"<", b"<sip:", b"a", b";a", b";a=", b"\\", b'"\\', b",", b"%", b"@"]
)
def test_sixty_thousand_octets_of_anything_take_no_time_to_speak_of(piece: bytes) -> None:
    """What is quadratic takes minutes."""
    value = piece * (60000 // len(piece))
    for text in (value, value + b"x", b"<sip:a@b>" + value + b"x;tag=1", b"sip:" + value + b"@h", b'"' + value):
        for read in (read_uri, read_place, addr_spec, parameters, split_values, unescape):
            try:
                read(text)
            except MalformedMessage:
                continue
        parameter(text, b"tag")
