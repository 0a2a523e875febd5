"""Bytes to bytes: what a proxy owns of a message is cut in or out; every other byte, order and case stays.

Places come from `scan`; nothing here reads a header again, but for the one check that `path` is not doubled.
"""

from __future__ import annotations

import re

from sipbalancer.sip.grammar import HOPS
from sipbalancer.sip.scan import RouteElement

Edit = tuple[int, int, bytes]
"""Replace data[start:end] by the bytes."""

_SUPPORTED = re.compile(rb"\n(?:supported|k)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE)
_PATH = re.compile(rb"(?:\A|,)\s*path\s*(?:,|\Z)", re.IGNORECASE)


def splice(data: bytes, edits: list[Edit]) -> bytes:
    """Apply edits that do not overlap, in any order; edits at one place apply in the order given."""
    pieces: list[bytes] = []
    at = 0
    for start, end, text in sorted(edits, key=lambda edit: edit[0]):
        pieces.append(data[at:start])
        pieces.append(text)
        at = end
    pieces.append(data[at:])
    return b"".join(pieces)


def forward_request(
    data: bytes,
    head: int,
    top: bytes,
    via_at: int,
    received: bytes,
    hops: int,
    hops_start: int,
    hops_end: int,
    edits: list[Edit] | None,
) -> bytes:
    """A request as it leaves (RFC 3261 16.6): our lines on top, the way back in the Via below, one hop less.

    `top` is our header lines, CRLF included; `received` goes in at `via_at`; `hops` is what was read, -1 when
    Max-Forwards is absent (then 70 is added); `edits` is whatever else changes (Routes, Request-URI).
    """
    if edits is None and hops_start > via_at:
        return b"".join(
            (data[:head], top, data[head:via_at], received, data[via_at:hops_start], HOPS[hops - 1], data[hops_end:])
        )
    if edits is not None and len(edits) == 1 and edits[0][0] >= hops_end > hops_start > via_at:
        start, end, text = edits[0]  # in a dialog: the one Route of ours, below Max-Forwards as phones write it
        way = data[:head], top, data[head:via_at], received, data[via_at:hops_start], HOPS[hops - 1]
        return b"".join((*way, data[hops_end:start], text, data[end:]))
    more = edits or []
    if hops < 0:
        top += b"Max-Forwards: 70\r\n"
    else:
        more = [*more, (hops_start, hops_end, HOPS[hops - 1])]
    return splice(data, [(head, head, top), (via_at, via_at, received), *more])


def cut_routes(routes: tuple[RouteElement, ...], count: int) -> list[Edit]:
    """The edits that remove the first `count` Route elements (16.4, 16.6 step 6), whole lines where one is used up."""
    edits: list[Edit] = []
    for _, start, end in routes[:count]:
        while edits and edits[-1][0] >= start:
            edits.pop()
        edits.append((start, end, b""))
    return edits


def replace_uri(data: bytes, uri: bytes, to: bytes) -> Edit:
    """Put another Request-URI into the start line."""
    start = data.index(b" ") + 1
    return start, start + len(uri), to


def names_path(data: bytes, head: int, end: int) -> bool:
    """Whether a Supported header of the request lists the option tag `path` (RFC 3327 5.1)."""
    if data.find(b"ath", head, end) < 0 and data.find(b"ATH", head, end) < 0:
        return False
    at = data.find(b"\nSupported: ", head, end) + 12
    if at > 11 and b" path," in b" %b," % data[at : data.find(b"\r\n", at)]:
        return True  # the usual spelling; the reader below takes every other
    return any(_PATH.search(match[1]) for match in _SUPPORTED.finditer(data, head - 1, end))


def pop_via(data: bytes, start: int, end: int) -> bytes:
    """A response without its top Via (16.7 step 3)."""
    return data[:start] + data[end:]
