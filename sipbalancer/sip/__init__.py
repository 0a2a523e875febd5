"""THE WIRE: bytes to facts and facts to bytes. Knows RFC 3261 and no server."""
