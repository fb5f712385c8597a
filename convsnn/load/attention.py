"""torch's multi-head attention traced with the batch first, as every value of a graph has it.

`nn.MultiheadAttention` moves the batch behind the tokens and runs batch and heads together. While
a module is traced its function stands aside for one that computes the same batch first; its fused
forms for inference are switched off. What it is asked that is not written here goes to torch's own.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_TORCHS_OWN = F.multi_head_attention_forward
_UNUSUAL = ("bias_k", "bias_v", "key_padding_mask", "static_k", "static_v")


@contextlib.contextmanager
def batch_first() -> Iterator[None]:
    """Trace attention in a form with the batch first as long as the `with` lasts."""
    fast = torch.backends.mha.get_fastpath_enabled()
    before = F.multi_head_attention_forward
    torch.backends.mha.set_fastpath_enabled(False)
    F.multi_head_attention_forward = _attention  # type: ignore[assignment]
    try:
        yield
    finally:
        F.multi_head_attention_forward = before
        torch.backends.mha.set_fastpath_enabled(fast)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """As `torch.nn.functional.multi_head_attention_forward`: tokens first, then the batch."""
    unusual = {"bias_k": bias_k, "bias_v": bias_v, **options}
    odd = add_zero_attn or training or any(unusual.get(name) is not None for name in _UNUSUAL)
    mask = options.get("attn_mask")
    if odd or query.dim() != 3 or (mask is not None and mask.dim() != 2):
        return _TORCHS_OWN(
            query, key, value, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias,
            bias_k, bias_v, add_zero_attn, dropout_p, out_proj_weight, out_proj_bias,
            training, **options,
        )  # fmt: skip
    if options.get("use_separate_proj_weight"):
        weights = [options[f"{name}_proj_weight"] for name in "qkv"]
    else:
        assert in_proj_weight is not None  # torch has one or the other
        weights = list(in_proj_weight.chunk(3))
    biases = [None] * 3 if in_proj_bias is None else list(in_proj_bias.chunk(3))
    split = [
        F.linear(x.transpose(0, 1), w, b).unflatten(2, (num_heads, -1)).transpose(1, 2)
        for x, w, b in zip((query, key, value), weights, biases, strict=True)
    ]
    scores = split[0] @ split[1].transpose(2, 3) * (1 / math.sqrt(split[0].shape[3]))
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf) if mask.dtype is torch.bool else scores + mask
    shares = scores.softmax(3)
    mixed = (shares @ split[2]).transpose(1, 2).flatten(2)
    answer = F.linear(mixed, out_proj_weight, out_proj_bias).transpose(0, 1)
    if not options.get("need_weights", True):
        return answer, None
    return answer, shares.mean(1) if options.get("average_attn_weights", True) else shares
