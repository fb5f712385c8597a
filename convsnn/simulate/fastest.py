"""Which precision is fastest on this machine: asked of the machine, by trying."""

import time
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from convsnn.simulate.engine import Precision
from convsnn.simulate.weighted import int8_available, integer_convolution


def fastest(device: torch.device) -> Precision:
    """The precision in which a middling convolution is fastest on `device`, by trying it."""
    return _fastest(str(device))


@cache
def _fastest(device: str) -> Precision:
    if device != "cpu":
        return "bfloat16"
    x = torch.rand(64, 64, 16, 16).to(memory_format=torch.channels_last)
    weight = torch.rand(64, 64, 3, 3)
    seconds: dict[Precision, float] = {
        "float32": _time(_convolution(x, weight)),
        "bfloat16": _time(_convolution(x.bfloat16(), weight.bfloat16())),
    }
    if int8_available():
        attrs = {"stride": [1, 1], "padding": [1] * 4, "dilation": [1, 1]}
        run = integer_convolution(torch.ones_like(weight), attrs)
        counts = (x > 0.5).to(torch.uint8)
        seconds["int8"] = _time(lambda: run(counts))
    return min(seconds, key=lambda name: seconds[name])


def _convolution(x: Tensor, weight: Tensor) -> Callable[[], object]:
    weight = weight.to(memory_format=torch.channels_last)
    return lambda: torch.conv2d(x, weight, padding=1)


def _time(run: Callable[[], object]) -> float:
    """Seconds of the fastest of five runs."""
    found = []
    with torch.no_grad():
        for _ in range(6):
            start = time.perf_counter()
            run()
            found.append(time.perf_counter() - start)
    return min(found[1:])
