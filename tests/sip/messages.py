"""SIP messages for property tests: a usual one, and everything that can happen to its bytes on the way.

Written as lines, not with the balancer's own words, so that a mistake in its reader is not shared here.
"""

from __future__ import annotations

import hypothesis.strategies as st

CRLF = b"\r\n"
END = b"\r\n\r\n"

COMPACT_NAMES = {
    b"Via": b"v",
    b"From": b"f",
    b"To": b"t",
    b"Call-ID": b"i",
    b"Contact": b"m",
    b"Supported": b"k",
    b"Content-Length": b"l",
}

REQUEST_URIS = [
    b"sip:600@192.0.2.1",
    b"sip:192.0.2.1",
    b"sip:1001@192.0.2.1:5060;transport=udp?Subject=hi",
    b"SIP:a;b:c@[2001:db8::1]:5062",
    b"tel:+4930123456",
    b"sip:evil.example.net",
    b"urn:service:sos",
]
VIAS = [
    b"SIP/2.0/UDP 10.1.0.1:5060;rport;branch=z9hG4bKabc",
    b"SIP/2.0/UDP 10.1.0.1:5060;branch=z9hG4bKabc;rport",
    b"SIP/2.0/UDP 10.1.0.1;branch=z9hG4bKabc",
    b"SIP/2.0/UDP phone.example.net:5070;branch=1",
    b"SIP/2.0/UDP 10.1.0.1:5060;branch=z9hG4bKabc;rport=5060;received=10.9.9.9",
    b"SIP / 2.0 / UDP 10.1.0.1 : 5060 ; RPORT ; branch=z9hG4bKabc",
    b"SIP/2.0/TCP [2001:db8::9]:5060;rport;branch=z9hG4bKabc;alias",
    b"SIP/2.0/UDP [2001:db8::9];branch=z9hG4bKabc;maddr=224.0.1.75;ttl=1",
    b'SIP/2.0/UDP 10.1.0.1:5060;x=";received=6.6.6.6,";branch=z9hG4bKabc',
    b'SIP/2.0/UDP 10.1.0.1:5060;x="a;received=b,c";branch=z9hG4bKabc;rport',
    b"SIP/2.0/UDP 10.1.0.1:5060;branch=z9hG4bKabc, SIP/2.0/UDP 10.2.0.1;branch=z9hG4bKdef",
    b"SIP/2.0/UDP ;branch=z9hG4bKabc",
    b"SIP/2.0/UDP us:er@host;branch=z9hG4bKabc",
    b"SIP/2.0/UDP 10.1.0.1:123456;branch=z9hG4bKabc",
    b"SIP/2.0/UDP 10.1.0.1:5060",
    b"SIP/2.0/UDP 10.1.0.1:5060;branch=",
    b"SIP/2.0/UDP 10.1.0.1:5060;branch=z9hG4bKabc;rport;rport",
    b"",
]
OUR_VIAS = [
    b"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKAAAAAAAAAAAAAAAA",
    b"SIP/2.0/UDP 192.0.2.1:5060;rport=5060;received=192.0.2.1;branch=z9hG4bKAAAAAAAAAAAAAAAA",
    b"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKAAAAAAAAAAAAAAAA;received=192.0.2.1;rport=5060",
    b"SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKAAAAAAAAAAAAAAAA",
]
ADDRESSES = [
    b"<sip:1001@192.0.2.1>;tag=abc",
    b"<sip:1001@192.0.2.1>",
    b"sip:1001@192.0.2.1;tag=abc",
    b'"A. <sip:x@y>;tag=no, B" <sip:1001@pbx.example.com;transport=udp>;tag=abc',
    b'"back\\\\slash \\" quote" <sip:%31001@PBX.example.com>',
    b"Bob <sips:bob@[2001:db8::5]:5061>;x=y;tag=abc",
    b"<tel:+4930123456>;tag=abc",
    b"<sip:1001@192.0.2.1",
    b'"unclosed <sip:1001@192.0.2.1>',
    b"",
    b"Anonymous <sip:anonymous@anonymous.invalid>;tag=1",
]
ROUTES = [
    b"<sip:192.0.2.1;lr>",
    b"<sip:192.0.2.1;lr>,<sip:192.0.2.1:5060;lr>",
    b"<sip:192.0.2.1;lr>, <sip:evil.example.net;lr>",
    b"< sip:192.0.2.1;lr >;x=y",
    b'"Name, <of> it" <sip:192.0.2.1;lr>',
    b"sip:192.0.2.1;lr",
    b"<sip:evil.example.net;lr>",
    b"<sip:192.0.2.1",
    b"",
]
NUMBERS = [b"70", b"0", b"1", b"255", b"999", b"1000", b"070", b"-1", b" 70", b"7 0", b"x", b""]
NAMES = [bytes.lower, bytes.upper, bytes.title, lambda name: COMPACT_NAMES.get(name, name), lambda name: name[:1]]
SEPARATORS = [b":", b" : ", b":  ", b":\t", b": \t", b":\r\n ", b":\n\t", b" :", b": \r"]
ENDINGS = [b"\n", b" \r\n", b"\t\r\n", b"\r\r\n", b"\r\n \r\n", b"\r\n\t", b"\r", b"\n\r\n", b"\r\n\r\n"]

Header = tuple[bytes, bytes]


def assemble(start: bytes, headers: list[Header], body: bytes = b"") -> bytes:
    """A message in the usual spelling."""
    return CRLF.join([start, *(name + b": " + value for name, value in headers)]) + END + body


@st.composite
def headers_of(draw: st.DrawFn, method: bytes, vias: list[bytes]) -> list[Header]:
    number = draw(st.sampled_from([b"1", b"1", b"1", b"4294967295", b"12345678901", b"x", b""]))
    headers = [
        (b"Max-Forwards", draw(st.sampled_from([b"70", b"70", b"70", *NUMBERS]))),
        (b"From", draw(st.sampled_from(ADDRESSES))),
        (b"To", draw(st.sampled_from(ADDRESSES))),
        (b"Call-ID", draw(st.sampled_from([b"abc@10.1.0.1", b"abc@10.1.0.1", b"a b", b""]))),
        (b"CSeq", number + b" " + draw(st.sampled_from([method, method, method, b"BYE", b" " + method, b""]))),
        *[(b"Route", value) for value in draw(st.lists(st.sampled_from(ROUTES), max_size=3))],
        (b"Contact", b"<sip:1001@10.1.0.1:5060>;expires=60"),
        (b"Supported", b"path, timer"),
        (b"Content-Length", b"0"),
    ]
    return [*[(b"Via", via) for via in vias], *draw(st.one_of(st.just(headers), st.permutations(headers)))]


@st.composite
def spelled(draw: st.DrawFn, header: Header) -> bytes:
    """One header line, mostly as everybody writes it."""
    name, value = header
    odd = draw(st.integers(0, 19))
    if odd == 0:
        name = draw(st.sampled_from(NAMES))(name)
    separator = draw(st.sampled_from(SEPARATORS)) if odd == 1 else b": "
    ending = draw(st.sampled_from(ENDINGS)) if odd == 2 else CRLF
    line = name + separator + value + ending
    return line * 2 if odd == 3 else b"" if odd == 4 else line


@st.composite
def written(draw: st.DrawFn, start: bytes, headers: list[Header]) -> bytes:
    lines = [draw(spelled(header)) for header in headers]
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(lines)))
        lines.insert(at, draw(spelled((draw(st.sampled_from([b"Cseq", b"Call-Id", b"Max-forwards"])), b"7 INVITE"))))
    body = draw(st.sampled_from([b"", b"v=0\r\nRoute: <sip:evil.example.net;lr>\r\nVia: x\r\n\r\nTo: nobody\r\n\r\n"]))
    ending = draw(st.sampled_from([CRLF] * 8 + [b"\n", b"", b"\r"]))
    return start + draw(st.sampled_from([CRLF] * 12 + [b"\n", b" \r\n", b"\r"])) + b"".join(lines) + ending + body


METHODS = [b"INVITE", b"REGISTER", b"ACK", b"CANCEL", b"BYE", b"OPTIONS", b"SUBSCRIBE", b"invite", b"X-Y", b"A\tB"]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from(METHODS))
    vias = draw(st.lists(st.sampled_from([*VIAS[:3], *VIAS]), min_size=0, max_size=3))
    start = method + b" " + draw(st.sampled_from([*REQUEST_URIS, b"sip:a\rb", b"sip:a\tb", b"sip:a b", b""]))
    start += draw(st.sampled_from([b" SIP/2.0"] * 8 + [b" SIP/2.0 ", b" sip/2.0", b" SIP/3.0", b"", b" HTTP/1.1"]))
    return draw(written(start, draw(headers_of(method, vias))))


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    status = draw(
        st.sampled_from([b"200", b"100", b"180", b"401", b"503", b"699", b"700", b"999", b"000", b"2000", b"x"])
    )
    vias = draw(st.lists(st.sampled_from([*OUR_VIAS, *VIAS]), max_size=3))
    start = b"SIP/2.0 " + status + draw(st.sampled_from([b" OK", b" OK", b"", b" ", b"\tOK", b" two words"]))
    return draw(written(start, draw(headers_of(b"INVITE", vias))))


@st.composite
def damaged(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """A message with some bytes cut out, doubled or replaced."""
    data = draw(messages)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.integers(0, 30)))
        piece = draw(st.one_of(st.binary(max_size=6), st.sampled_from([b"\r\n", b"\n", b'"', b"<", b">", b",", b";"])))
        data = data[:start] + piece + data[stop:]
    return data


ANYTHING = st.one_of(requests(), responses(), damaged(requests()), damaged(responses()), st.binary(max_size=200))
