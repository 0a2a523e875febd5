"""Cutting in and out; all else stays byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbalancer.sip.edit import cut_routes, forward_request, names_path, pop_via, replace_uri, splice
from sipbalancer.sip.scan import Request, Response, scan_request, scan_response
from tests.sip.messages import CRLF, assemble

BASE = [
    (b"Via", b"SIP/2.0/UDP 10.1.0.1:5060;rport;branch=z9hG4bKabc"),
    (b"From", b"<sip:1001@192.0.2.1>;tag=abc"),
    (b"To", b"<sip:600@192.0.2.1>"),
    (b"Call-ID", b"abc@10.1.0.1"),
    (b"CSeq", b"1 INVITE"),
    (b"Max-Forwards", b"70"),
]
START = b"INVITE sip:600@192.0.2.1 SIP/2.0"
BODY = b"v=0\r\nMax-Forwards: 3\r\n\r\n"


@given(st.binary(max_size=40), st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=5)), max_size=4))
def test_splice_puts_in_and_takes_nothing_else(data: bytes, inserts: list[tuple[int, bytes]]) -> None:
    edits = [(min(at, len(data)), min(at, len(data)), text) for at, text in inserts]
    expected, shift = data, 0
    for at, _, text in sorted(edits, key=lambda edit: edit[0]):
        expected = expected[: at + shift] + text + expected[at + shift :]
        shift += len(text)
    assert splice(data, edits) == expected


def test_splice_replaces() -> None:
    assert splice(b"abcdef", [(4, 6, b"X"), (0, 1, b""), (2, 2, b"-"), (2, 2, b"+")]) == b"b-+cdX"


def forward(data: bytes, cut: int = 0) -> bytes:
    facts = Request(*scan_request(data))
    edits = cut_routes(facts.routes, cut) if cut else None
    return forward_request(
        facts.data,
        facts.head,
        b"Via: us\r\n",
        facts.rport,
        b"=1;received=2",
        facts.hops,
        facts.hops_start,
        facts.hops_end,
        edits,
    )


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [0, 5, 1, 2, 3, 4], [5, 1, 0, 2, 3, 4], [4, 3, 2, 1, 0, 5]])
def test_a_request_gets_our_via_on_top_and_one_hop_less(order: list[int]) -> None:
    headers = [BASE[number] for number in order]
    expected = [(name, value.replace(b"70", b"69").replace(b"rport", b"rport=1;received=2")) for name, value in headers]
    assert forward(assemble(START, headers, BODY)) == assemble(START, [(b"Via", b"us"), *expected], BODY)


@given(st.permutations([*BASE, (b"Route", b"<sip:a;lr>"), (b"Route", b"<sip:b;lr>")]), st.integers(0, 2))
def test_the_short_ways_are_a_splice(headers: list[tuple[bytes, bytes]], cut: int) -> None:
    via = next(header for header in headers if header[0] == b"Via")
    data = assemble(START, [via, *(header for header in headers if header is not via)], BODY)
    facts = Request(*scan_request(data))
    edits = [
        (facts.head, facts.head, b"Via: us\r\n"),
        (facts.rport, facts.rport, b"=1;received=2"),
        (facts.hops_start, facts.hops_end, b"69"),
        *cut_routes(facts.routes, cut),
    ]
    assert forward(data, cut) == splice(data, edits)


def test_without_max_forwards_it_gets_70() -> None:
    left = forward(assemble(START, BASE[:5], BODY))
    assert left.startswith(
        START + CRLF + b"Via: us\r\nMax-Forwards: 70\r\nVia: SIP/2.0/UDP 10.1.0.1:5060;rport=1;received=2;"
    )
    assert left.endswith(CRLF + CRLF + BODY)


LAYOUTS = [
    ([b"<sip:a;lr>"], [[]]),
    ([b"<sip:a;lr>", b"<sip:b;lr>", b"<sip:c;lr>"], [[b"<sip:b;lr>", b"<sip:c;lr>"], [b"<sip:c;lr>"], []]),
    ([b"<sip:a;lr>,<sip:b;lr> , <sip:c;lr>"], [[b"<sip:b;lr> , <sip:c;lr>"], [b"<sip:c;lr>"], []]),
    (
        [b"<sip:a;lr>,<sip:b;lr>", b'"x,y" <sip:c;lr>'],
        [[b"<sip:b;lr>", b'"x,y" <sip:c;lr>'], [b'"x,y" <sip:c;lr>'], []],
    ),
    ([b"<sip:a;lr>", b"<sip:b;lr>,<sip:c;lr>"], [[b"<sip:b;lr>,<sip:c;lr>"], [b"<sip:c;lr>"], []]),
]


@pytest.mark.parametrize(("routes", "left"), LAYOUTS)
@pytest.mark.parametrize("between", [False, True])
def test_leading_routes_are_cut_whole_lines_where_whole(
    routes: list[bytes], left: list[list[bytes]], between: bool
) -> None:
    def written(values: list[bytes]) -> bytes:
        lines = [(b"Route", value) for value in values]
        return assemble(START, [*BASE[:2], *lines, *BASE[2:]] if not between else [*BASE, *lines])

    for cut, values in enumerate(left, 1):
        data = written(routes)
        routes_read = Request(*scan_request(data)).routes
        assert splice(data, cut_routes(routes_read, cut)) == written(values)
    assert cut_routes(Request(*scan_request(written(routes))).routes, 0) == []


def test_lines_that_are_not_routes_stay_between_them() -> None:
    data = assemble(
        START, [*BASE, (b"Route", b"<sip:a;lr>"), (b"Subject", b"x"), (b"route", b"<sip:b;lr>,\r\n <sip:c;lr>")]
    )
    left = splice(data, cut_routes(Request(*scan_request(data)).routes, 2))
    assert left == assemble(START, [*BASE, (b"Subject", b"x"), (b"route", b"<sip:c;lr>")])


def test_another_request_uri() -> None:
    data = assemble(START, BASE)
    assert splice(data, [replace_uri(data, b"sip:600@192.0.2.1", b"sip:x@y")]) == assemble(
        b"INVITE sip:x@y SIP/2.0", BASE
    )


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ([(b"Supported", b"path")], True),
        ([(b"Supported", b"timer,path , gruu")], True),
        ([(b"k", b"Path")], True),
        ([(b"SUPPORTED", b"PATH")], True),
        ([(b"Supported", b"timer"), (b"Supported", b"path")], True),
        ([(b"Supported", b"timer,\r\n path")], True),
        ([(b"Supported", b"pathological")], False),
        ([(b"Require", b"path")], False),
        ([(b"Subject", b"path")], False),
        ([], False),
    ],
)
def test_whether_path_is_supported(lines: list[tuple[bytes, bytes]], named: bool) -> None:
    data = assemble(START, [*BASE, *lines], b"Supported: path\r\n\r\n")
    facts = Request(*scan_request(data))
    assert names_path(data, facts.head, facts.end) is named


def test_pop_takes_the_top_via_alone() -> None:
    data = assemble(b"SIP/2.0 200 OK", [(b"Via", b"SIP/2.0/UDP us;branch=z9hG4bKo"), *BASE], BODY)
    read = Response(*scan_response(data))
    assert pop_via(data, read.pop_start, read.pop_end) == assemble(b"SIP/2.0 200 OK", BASE, BODY)
