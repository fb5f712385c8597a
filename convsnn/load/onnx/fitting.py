"""Whether weights have the shapes that their op needs, which the shape of the result alone does
not tell."""

from collections.abc import Mapping, Sequence
from typing import Any

Shape = tuple[int, ...]


def misfit(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> str:
    """What is wrong with the inputs of `op`, the data first; empty where nothing is."""
    if op == "batch_norm":
        channels = shapes[0][1] if len(shapes[0]) > 1 else 0
        wrong = next((shape for shape in shapes[1:] if shape != (channels,)), None)
        return "" if wrong is None else f"has statistics of shape {wrong} for {channels} channels"
    if op not in ("conv", "conv_transpose", "linear") or len(shapes) < 3:
        return ""
    weight, bias = shapes[1], shapes[2]
    outputs = weight[1] * attrs["groups"] if op == "conv_transpose" else weight[0]
    return "" if bias == (outputs,) else f"has a bias of shape {bias} for {outputs} outputs"
