"""Messages on stderr: a terminal gets them wrapped between words, a file in whole lines."""

from rich.console import Console


def messages() -> Console:
    """A console for what is said beside the result."""
    console = Console(stderr=True, highlight=False)
    console.soft_wrap = not console.is_terminal
    return console
