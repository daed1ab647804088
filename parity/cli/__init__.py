"""The command `parity`: check, capture, show, convert, suite, equivalence."""

from parity.cli.main import main

__all__ = ["main"]
