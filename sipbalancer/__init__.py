"""A SIP-aware, health-checking load balancer for pools of Asterisk servers.

The map: `sip` (the wire) -> `director` (the decision) -> `daemon` (the doing); `config` (the file) beside them.
Imports go one way: errors <- sip, config <- director <- daemon <- cli.
"""

__version__ = "0.1.0"
