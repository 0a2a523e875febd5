"""The reasons of the counters in words: what `malformed: via` or `stray ack` means, for whoever reads `explain`."""

from __future__ import annotations

RULES = {
    "framing": "no blank line ends the headers (RFC 3261 7)",
    "lines": "it has more than 256 header lines",
    "list": "one header line lists more than 128 elements",
    "route": "it has more than 64 Routes",
    "header": "a header line has no name or no colon (RFC 3261 7.3)",
    "request line": "the first line is no `METHOD URI SIP/2.0` (RFC 3261 7.1)",
    "status line": "the first line is no `SIP/2.0 CODE REASON` (RFC 3261 7.2)",
    "via": "there is no top Via, or it cannot be read (RFC 3261 20.42)",
    "cseq": "CSeq is missing, no number, or of another method (RFC 3261 8.1.1.5)",
    "max-forwards": "Max-Forwards is no number from 0 to 255 (RFC 3261 20.22)",
    "call-id": "Call-ID is missing or empty (RFC 3261 8.1.1.4)",
    "from": "From is missing or empty (RFC 3261 8.1.1.3)",
    "to": "To is missing or empty (RFC 3261 8.1.1.2)",
    "uri": "a URI that decides cannot be read (RFC 3261 19.1)",
    "host": "a host or port cannot be read (RFC 3261 25.1)",
    "name-addr": "a From, To or Route is no address: a quote or bracket is not closed (RFC 3261 20.10)",
    "aor": "the user and host of From or To are longer than any phone's",
    "contact": "a Contact cannot be read (RFC 3261 20.10)",
}
REASONS = {
    "keepalive": "a keep-alive (line ends, or STUN): taken silently",
    "options to us": "an OPTIONS to the balancer itself",
    "max-forwards": "Max-Forwards is 0",
    "foreign route": "its first Route is somebody else's: no open relay",
    "bad token": "inside a dialog that nobody here knows",
    "stray ack": "an ACK for no call known here",
    "ack to us": "the ACK for an answer of our own",
    "no server": "no server takes new work, and there is no fallback",
    "unknown contact": "no registered Contact is the Request-URI, nor does its user belong to one",
    "outbound name": "`outbound = yes` needs an address, not a name, in the Request-URI",
    "not ours": "the Request-URI is nobody's Contact, and `outbound = yes` is not set",
    "repeat absorbed": "a copy of a request that waits for its server: the balancer repeats it by itself",
    "repeat of answered": "a copy of a request that the balancer has answered: the same answer again",
    "register held off": "`registerrate`: the server has had its share; it waits in line, or its next copy may pass",
    "registerrate": "`registerrate`: it has found no place in line for long enough to be told",
    "foreign via": "its top Via is not ours: nobody asked this through us",
    "response to us": "no Via is left below ours: it is for nobody",
    "contact not known yet": "nobody's Contact here; perhaps another worker's: the server's next copy decides",
    "stranger at a server leg": "it came to a port that only servers answer to, and from no server",
    "response from a stranger": "it comes from no server and goes to none",
    "answer to us": "it answers a CANCEL or BYE of the balancer's own",
    "ended by us: BYE": "its server is dead and `endcalls = yes`: the balancer ended the call",
    "persistence pins full": "`persistencekey`: two fifths of the pins are such ones; raise `registrations`",
    "contact not kept": "its Contact has more than 1,024 octets, or there is no room: it passes, calls go by its Path",
    "given-up try": "it answers a try that was given up",
    "given-up try without Contact": "it answers a try that was given up, and has no Contact to send a BYE to",
}
ANSWERED = frozenset(
    (
        *("options to us", "max-forwards", "foreign route", "bad token", "no server"),
        *("unknown contact", "outbound name", "not ours", "registerrate"),
    )
)
"""What is answered, unless the answer would be longer than the request."""
NO_LONGER = "; our answer would be longer than this request, so none is given (no amplifier)"
