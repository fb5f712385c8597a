"""The command line: one file per command, the top layer that may import everything."""

from convsnn.commands.main import main

__all__ = ["main"]
