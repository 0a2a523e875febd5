"""What a datagram says of itself."""

from __future__ import annotations

from sipbalancer.director.explain import explain
from tests.director.explaining import request
from tests.flows.pool import Pool


def test_the_source_is_guessed_and_that_is_said() -> None:
    state = Pool().balancer.table.state
    said = explain(state, 0, request(), None, 0.0)
    assert (said.source, said.source_by, said.sender) == ("10.1.0.9:5060", "what its top Via says", "a client")
    said = explain(state, 0, request(via="phone.example.net;branch=z9hG4bKx"), None, 0.0)
    assert (said.source, said.source_by) == ("unknown", "say it with --from")
