"""The messages of RFC 4475, sent by a client (responses by a server): what a proxy must pass on, and what not.

A proxy looks at what it needs (16.3): many a message that would be wrong for an endpoint is passed on as it came, for
the server to refuse. `forward`: it reaches a server; a number: our own answer; `drop`: nothing at all is sent.
"""

from __future__ import annotations

import pytest

from tests.director.stage import A, Stage, status_of

VIA = "Via: SIP/2.0/UDP 10.1.0.1:5060;rport;branch=z9hG4bKkdjuw"
COMMON = [
    VIA,
    "Max-Forwards: 70",
    "From: <sip:caller@example.net>;tag=1",
    "To: <sip:callee@example.com>",
    "Call-ID: t.1",
]


def text(start: str, *lines: str, body: str = "") -> bytes:
    return "\r\n".join((start, *lines, "", body)).encode("latin-1")


def usual(method: str = "INVITE", uri: str = "sip:callee@example.com", *more: str, version: str = "SIP/2.0") -> bytes:
    return text(f"{method} {uri} {version}", *COMMON, f"CSeq: 1 {method}", *more, "Content-Length: 0")


def without(data: bytes, name: str) -> bytes:
    return b"\r\n".join(line for line in data.split(b"\r\n") if not line.startswith(name.encode()))


def replaced(data: bytes, name: str, line: str) -> bytes:
    return b"\r\n".join(line.encode() if each.startswith(name.encode()) else each for each in data.split(b"\r\n"))


WSINV = text(
    "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0",
    "TO :",
    " sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n",
    'from   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>',
    "  ;",
    "  tag = 98asjd8",
    "MaX-fOrWaRdS: 0068",
    "Call-ID: wsinv.ndaksdj@192.0.2.1",
    "Content-Length   : 150",
    "cseq: 0009",
    "  INVITE",
    "Via  : SIP  /   2.0",
    " /UDP",
    "    192.0.2.2;branch=390skdjuw",
    "s :",
    "NewFangledHeader:   newfangled value",
    " continued newfangled value",
    "UnknownHeaderWithUnusualValue: ;;,,;;,;",
    "Content-Type: application/sdp",
    "Route:",
    " <sip:192.0.2.1;lr>",
    "v:  SIP  / 2.0  / TCP     spindle.example.com   ;",
    "  branch  =   z9hG4bK9ikj8  ,",
    " SIP  /    2.0   / UDP  192.168.255.111   ; branch=",
    " z9hG4bK30239",
    'm:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam =',
    "      newvalue ;",
    "  secondparam ; q = 0.33",
)
"""3.1.1.1, with our address in the Route and a usable Max-Forwards."""

LONG = "x" * 3000

CASES: dict[str, tuple[bytes, str | int]] = {
    "wsinv: white space, folding and compact forms": (replaced(WSINV, "MaX", "MaX-fOrWaRdS: 068"), "forward"),
    "intmeth: every character a token may have": (
        usual(
            "!interesting-Method0123456789_*+`.%indeed'~",
            "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com",
        ),
        "forward",
    ),
    "esc01: escapes in the Request-URI": (usual("INVITE", "sip:sips%3Auser%40example.com@example.net"), "forward"),
    "escnull: escaped nulls": (
        replaced(usual("REGISTER", "sip:example.com"), "To", "To: sip:null-%00-null@example.com"),
        "forward",
    ),
    "esc02: a percent sign that is no escape": (usual("RE%47IST%45R", "sip:registrar.example.com"), "forward"),
    "lwsdisp: no space between display name and <": (
        replaced(usual("OPTIONS", "sip:user@example.com"), "From", "From: caller<sip:caller@example.com>;tag=323"),
        "forward",
    ),
    "longreq: very long values": (
        usual("INVITE", "sip:user@example.com", f"Subject: {LONG}", f"Via: SIP/2.0/UDP {LONG}"),
        "forward",
    ),
    "dblreq: a second request behind the first": (usual("REGISTER", "sip:example.com") + usual(), "forward"),
    "semiuri: a semicolon in the user part": (usual("OPTIONS", "sip:user;par=u%40example.net@example.com"), "forward"),
    "transports: several transports in Vias": (
        usual("OPTIONS", "sip:user@example.com", "Via: SIP/2.0/UNKNOWN t4.example.com;branch=x"),
        "forward",
    ),
    "badinv01: parameters without values": (replaced(usual(), "Via", "Via: SIP/2.0/UDP 192.0.2.15;;,;,,"), "forward"),
    "clerr: Content-Length beyond the datagram": (
        replaced(usual(), "Content-Length", "Content-Length: 9999"),
        "forward",
    ),
    "ncl: negative Content-Length": (replaced(usual(), "Content-Length", "Content-Length: -999"), "forward"),
    "scalar02: a CSeq beyond its range": (
        replaced(usual("REGISTER", "sip:example.com"), "CSeq", "CSeq: 36893488147419103232 REGISTER"),
        400,
    ),
    "scalarlg: Max-Forwards beyond its range": (replaced(usual(), "Max-Forwards", "Max-Forwards: 300000"), 400),
    "quotbal: a quote that does not close": (
        replaced(usual("REGISTER", "sip:example.com"), "To", 'To: "Mr. J. User <sip:j.user@example.com>'),
        "drop",
    ),
    "ltgtruri: <> around the Request-URI": (usual("INVITE", "<sip:user@example.com>"), "forward"),
    "lwsruri: white space in the Request-URI": (usual("INVITE", "sip:user@example.com; lr"), 400),
    "lwsstart: more than one space in the start line": (usual("INVITE ", " sip:user@example.com"), 400),
    "trws: white space behind the start line": (
        usual("OPTIONS", "sip:remote-target@example.com", version="SIP/2.0  "),
        400,
    ),
    "escruri: headers in the Request-URI": (
        usual("INVITE", "sip:user@example.com?Route=%3Csip:example.com%3E"),
        "forward",
    ),
    "baddate": (usual("INVITE", "sip:user@example.com", "Date: Fri, 01 Jan 2010 16:00:00 EST"), "forward"),
    "regbadct: a Contact with unescaped headers": (
        usual("REGISTER", "sip:example.com", "Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E"),
        "forward",
    ),
    "badaspec: white space in a To": (
        replaced(usual("OPTIONS", "sip:t@example.org"), "To", 'To: "Watson" < sip:t.watson@example.org >'),
        "forward",
    ),
    "badvers: an unknown version": (usual("OPTIONS", "sip:t@example.org", version="SIP/7.0"), 400),
    "mismatch01: CSeq of another method": (
        replaced(usual("OPTIONS", "sip:user@example.com"), "CSeq", "CSeq: 8 INVITE"),
        400,
    ),
    "mismatch02: the same with an unknown method": (
        replaced(usual("NEWMETHOD", "sip:user@example.com"), "CSeq", "CSeq: 8 INVITE"),
        400,
    ),
    "badbranch: a cookie and nothing behind it": (
        replaced(usual("OPTIONS", "sip:user@example.com"), "Via", "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK"),
        "forward",
    ),
    "insuf: no Call-ID, no From, no To": (without(without(without(usual(), "Call-ID"), "From"), "To"), 400),
    "unkscm: an unknown scheme in the Request-URI": (
        usual("OPTIONS", "nobodyKnowsThisScheme:totallyopaquecontent"),
        "forward",
    ),
    "novelsc: soap.beep": (usual("OPTIONS", "soap.beep://192.0.2.103:3002"), "forward"),
    "unksm2: unknown schemes in From and To": (
        replaced(replaced(usual(), "From", "From: <http://www.example.com>;tag=1"), "To", "To: <isbn:2983792873>"),
        "forward",
    ),
    "unksm2 of a REGISTER: nobody to be registered": (
        replaced(usual("REGISTER", "sip:example.com"), "To", "To: isbn:2983792873"),
        400,
    ),
    "bext01: Require and Proxy-Require": (
        usual("OPTIONS", "sip:user@example.com", "Require: nothingSupportsThis"),
        "forward",
    ),
    "invut: an unknown Content-Type": (
        usual("INVITE", "sip:user@example.com", "Content-Type: application/unknownformat"),
        "forward",
    ),
    "regaut01: an unknown authorization scheme": (
        usual("REGISTER", "sip:example.com", "Authorization: NoOneKnowsThisScheme opaque-data=here"),
        "forward",
    ),
    "multi01: single headers repeated": (
        usual("INVITE", "sip:user@example.com", "CSeq: 59 INVITE", "Call-ID: again", "To: sip:other@example.com"),
        "forward",
    ),
    "mcl01: several Content-Lengths": (usual("OPTIONS", "sip:user@example.com", "Content-Length: 13"), "forward"),
    "zeromf: no hop left": (replaced(usual("OPTIONS", "sip:user@example.com"), "Max-Forwards", "Max-Forwards: 0"), 483),
    "cparam01: an unknown Contact parameter": (
        usual("REGISTER", "sip:example.com", "Contact: sip:+19725552222@gw1.example.net;unknownparam"),
        "forward",
    ),
    "regescrt: escaped headers in a Contact": (
        usual("REGISTER", "sip:example.com", "Contact: <sip:user@example.com?Route=%3Csip:x%3E>"),
        "forward",
    ),
    "sdp01: an Accept that does not fit": (
        usual("INVITE", "sip:user@example.com", "Accept: text/nobodyKnowsThis"),
        "forward",
    ),
    "inv2543: an INVITE as RFC 2543 wrote it": (
        text(
            "INVITE sip:UserB@example.com SIP/2.0",
            "Via: SIP/2.0/UDP iftgw.example.com",
            "From: <sip:+13035551111@ift.client.example.net;user=phone>",
            "Record-Route: <sip:UserB@example.com;maddr=ss1.example.com>",
            "To: sip:+16505552222@ss1.example.net;user=phone",
            "Call-ID: inv2543.1717@ift.client.example.com",
            "CSeq: 56 INVITE",
            "Content-Type: application/sdp",
        ),
        "forward",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_requests(name: str) -> None:
    data, expected = CASES[name]
    out = Stage().send(data)
    if expected == "drop":
        assert out is None
    elif expected == "forward":
        assert out is not None and not out[0].startswith(b"SIP/2.0")
    else:
        assert out is not None and status_of(out[0]) == expected


def answered(status: str, *more: str) -> bytes:
    return text(
        f"SIP/2.0 {status}",
        "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKAAAAAAAAAAAAAAAA",
        *COMMON,
        "CSeq: 1 INVITE",
        *more,
    )


@pytest.mark.parametrize(
    ("data", "passes"),
    [
        (answered("200 = 2**3 * 5**2 \xd0\xbd\xd0\xbe"), True),
        (answered("100 "), True),
        (answered("200"), True),
        (answered("4294967301 better not break the receiver"), False),
        (answered("700 too high"), False),
        (answered("200 OK", "Unreasonable; no colon"), True),
        (without(answered("200 OK"), "Via"), False),
        (answered("200 OK").replace(b"192.0.2.1:5060", b"192.0.2.9:5060"), False),
    ],
    ids=["unreason", "noreason", "shorter", "bigcode", "700", "a line with no colon", "no Via", "bcast"],
)
def test_responses(data: bytes, passes: bool) -> None:
    via = b"rport=5060;received=10.1.0.1"
    out = Stage().send(data.replace(b"rport", via), A)
    assert (out is not None) is passes
