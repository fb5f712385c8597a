"""Where a network runs: the device that is meant by a text like `auto` or `cuda:1`."""

import torch

from convsnn.errors import ConfigError
from convsnn.workflows.running.launched import card

DEVICES = ("cpu", "cuda")


def pick_device(text: str) -> torch.device:
    """`auto` is CUDA where there is one; ConfigError for a device that is not here.

    Of several processes on one machine each takes the card of its number.
    """
    # a report that says float32 may not come from the 10-bit mantissa of TF32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if text == "auto":
        text = "cuda" if torch.cuda.is_available() else "cpu"
    if text.startswith("cpu:"):
        raise ConfigError(
            f"--device {text} is not known: a CPU has no number", hint="use --device cpu"
        )
    if text.partition(":")[0] not in DEVICES:
        raise ConfigError(f"--device {text} is not known", hint="choose auto, cpu, cuda or cuda:N")
    own = card()
    if own is not None and text.startswith("cuda:"):
        raise ConfigError(
            f"several processes cannot all run on '{text}'",
            hint="use --device cuda, and each takes the card of its number",
        )
    if own is not None and text == "cuda":
        text = f"cuda:{own}"
    try:
        device = torch.device(text)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device '{text}' cannot be used: {reason}", hint="use --device cpu, or auto"
        ) from None
    return device
