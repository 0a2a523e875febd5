"""The command line: `sipbalancer run | check | status | where | drain | enable | explain | demo`."""

from sipbalancer.cli.commands import main

__all__ = ["main"]
