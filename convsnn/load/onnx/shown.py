"""Names of a file as they can stand in a message: short, and in letters that can be printed."""

from pathlib import Path

_LONGEST = 300


def shown(name: str | Path) -> str:
    """`name` with bytes that are no text written out, and the middle of a long one left out."""
    text = str(name).encode("utf-8", "backslashreplace").decode("utf-8")
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}...{text[-half // 2 :]}"
