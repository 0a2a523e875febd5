"""The words and patterns of RFC 3261 that a balancer needs, each under the rule it implements.

Nothing here looks at a whole message; `scan` and `headers` do.
"""

from __future__ import annotations

import re

HOPS = tuple(str(hops).encode() for hops in range(1000))
"""Max-Forwards, as it is written."""

METHODS = frozenset(
    b"INVITE ACK BYE CANCEL OPTIONS REGISTER PRACK SUBSCRIBE NOTIFY PUBLISH INFO REFER MESSAGE UPDATE".split()
)
"""The methods that have a counter of their own; any other token is valid too (RFC 3261 7.1)."""

RECORD_ROUTED = frozenset((b"INVITE", b"SUBSCRIBE", b"REFER", b"NOTIFY", b"UPDATE"))
"""Requests that make a dialog or refresh its target: the ones a Record-Route means something in (12.1.1, 12.2.1.1)."""

MAGIC_COOKIE = b"z9hG4bK"
"""A branch that begins so is unique by itself (8.1.1.7)."""

COMPACT = {
    b"a": b"accept-contact",
    b"c": b"content-type",
    b"d": b"request-disposition",
    b"e": b"content-encoding",
    b"f": b"from",
    b"i": b"call-id",
    b"j": b"reject-contact",
    b"k": b"supported",
    b"l": b"content-length",
    b"m": b"contact",
    b"o": b"event",
    b"r": b"refer-to",
    b"s": b"subject",
    b"t": b"to",
    b"u": b"allow-events",
    b"v": b"via",
    b"x": b"session-expires",
}
"""7.3.3 and the later RFCs that registered a compact form."""

ODD_LINE = re.compile(
    rb"\n(?:(?<![^ \t\r]\r\n)|(?![A-Z][A-Za-z-]*+:)|F(?!rom: [^ \t\r])|T(?!o: [^ \t\r]|[ia])|R(?!oute: |[eSA])|I(?!n)"
    rb"|C(?!Seq: [^ \t\r]|all-I(?:D: [^ \t\r]|nfo)|on)|M(?!ax-(?:Forwards: |B)|in-|IME))"
)
"""From the top Via on: the blank line, or before it a line that is no header, or may name one of the facts in another
spelling than every common stack's: folded, compact, in another case, without the one space behind its colon, with
white space or a bare LF at its end. One hit sends the message to the general reader, so that both always agree."""

_SENT_BY = rb"((?:\[[0-9A-Fa-f:.]{1,64}\]|[A-Za-z0-9._-]{1,255})(?::[0-9]{1,5})?)"

REQUEST_HEAD = re.compile(
    rb"([A-Z]+) (\S+) SIP/2\.0\r\nVia: SIP/2\.0/UDP " + _SENT_BY + rb"(;rport)?;branch=([^;,\s\"]{1,999})(;rport)?\r\n"
)
"""Request line and top Via in the common spelling: method, Request-URI, sent-by, rport?, branch, rport?."""

RESPONSE_HEAD = re.compile(
    rb"SIP/2\.0 ([1-6][0-9][0-9]) [^\r\n]*\r\nVia: SIP/2\.0/UDP "
    + _SENT_BY
    + rb"(?:;(?:rport|received)=[0-9A-Fa-f:.]+)*;branch=([^;,\s\"]+)(?:;(?:rport|received)=[0-9A-Fa-f:.]+)*\r\n"
    rb"Via: ([^\s,](?:[^\r\n,]*[^\s,])?)\r\n(?![ \t])"
)
"""Status line and two Vias in the common spelling, the second alone in its line: status, sent-by, branch, next Via."""

REQUEST_LINE = re.compile(rb"([A-Za-z0-9.!%*_+`'~-]+) ([^ \t\r\n]+) SIP/2\.0\Z")
"""7.1: exactly one space between the parts."""

STATUS_LINE = re.compile(rb"SIP/2\.0 ([1-6][0-9][0-9])(?: [^\r\n]*)?\Z")

VIA = re.compile(
    rb"\s*SIP\s*/\s*2\.0\s*/\s*(?P<transport>[A-Za-z0-9-]+)\s+"
    rb"(?P<sent_by>(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?:\s*:\s*[0-9]{1,5})?)\s*(?P<params>;.*)?\Z",
    re.DOTALL | re.IGNORECASE,
)
"""20.42, with the white space the grammar allows, folds included."""

RELATED = re.compile(rb"\n(?=[RrJjTt])(?i:replaces|join|target-dialog)[ \t]*:")
"""A header line that names another call (RFC 3891, 3911, 4538; none has a compact form), in any case."""

CALLER_NAMED = re.compile(rb"\n(?=[AaPp])(?i:p-(?:asserted|preferred)-identity|(?:proxy-)?authorization)[ \t]*:")
"""A header line that names the caller beside From (RFC 3325, 3261 20.7; no compact forms either)."""

CREDENTIALS = re.compile(rb"\n(?=[AaPp])(?i:(?:proxy-)?authorization)[ \t]*:")

RETURN_ADDRESS = re.compile(rb";rport=([0-9]{1,5});received=([0-9A-Fa-f.:]+)")
"""What we write into a client's Via, and what common stacks echo in that order: one search finds the way back."""

PARAMETER = re.compile(rb""";[ \t\r\n]*([^=;,\s"]+)(?:[ \t\r\n]*=[ \t\r\n]*("(?:[^"\\]|\\.)*"|[^;,\s"]*))?""")
"""One `;name=value`; quoted values keep their quotes."""

HOST_PORT = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?\Z")

SIP_URI = re.compile(
    rb"(?P<scheme>sips?):(?:(?P<user>[^@;<>\s:]*(?:;[^@<>\s:]*)?)(?::(?P<password>[^@<>\s]*))?@)?"
    rb"(?P<host>\[[0-9A-Fa-f:.]+\]|[^;:?<>\s@\[\]]+)(?::(?P<port>[0-9]{1,5}))?(?P<params>;[^?<>\s]*)?(?P<headers>\?[^<>\s]*)?\Z",
    re.IGNORECASE,
)
"""19.1.1, as loose as phones are: the user part is not checked character by character."""

DEFAULT_PORT = 5060

LINES = 256
"""Header lines of a message, folded ones counted singly."""
VALUES = 128
"""Elements of one header line."""
ROUTES = 64
PARAMETERS = 64
"""Parameters that are looked through for a name; what stands behind them is not seen."""
LONGEST_URI = 2048
LONGEST_VIA = 2048
"""Octets. All six are far beyond what is ever written, and keep the largest datagram from costing 50 ms of everybody's
time: it is 65,000 octets of the cheapest lines, commas or semicolons there are."""
