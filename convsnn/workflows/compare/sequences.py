"""The rows of a comparison on sequences: methods of conversion as they go with frames over time."""

import re
from collections.abc import Sequence
from dataclasses import replace

from calibrate.named import NamedMethod
from convsnn.errors import ConfigError
from convsnn.workflows.running.voice import note

_STEPS = re.compile(r"\bsteps=(\d+)")


def require_images(frames: int | None) -> None:
    """ConfigError where the data are sequences: a fine-tuned row has an original as teacher."""
    if frames is not None:
        raise ConfigError(
            "rows of --finetune have the original as teacher, which is shown no frames over time",
            hint="leave out --finetune, and name networks that were trained on sequences with "
            "--add (convsnn train)",
        )


def on_sequences(methods: Sequence[NamedMethod], frames: int, *, named: bool) -> list[NamedMethod]:
    """Those of `methods` that can be shown sequences of so many `frames`, no longer calibrated than
    these last; ConfigError where others were `named` by the user."""
    kept = [method for method in methods if method.encoder == "direct"]
    left = ", ".join(method.name for method in methods if method not in kept)
    if left and named:
        raise ConfigError(
            f"the data are sequences, and {left} encodes images in a way of its own",
            hint="leave it out of --methods",
        )
    if left:
        note(f"left out, for the data are sequences and it encodes images: {left}")
    return [_limited(method, frames) for method in kept]


def _limited(method: NamedMethod, frames: int) -> NamedMethod:
    """No stage that simulates more steps than there are frames."""

    def fewer(found: re.Match[str]) -> str:
        return f"steps={min(int(found[1]), frames)}"

    return replace(method, calibrate=_STEPS.sub(fewer, method.calibrate))
