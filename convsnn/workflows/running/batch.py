"""What is said where memory had no room for as many images at once as were meant."""

from convsnn.workflows.running.voice import note


def note_smaller_batch(images: int) -> None:
    """Say that memory ran out and how the run goes on."""
    text = f"memory ran out; going on with {images} image(s) at once (--batch-size {images})"
    note(text)
