"""Attention written as one op, taken apart: softmax(Q K' * scale + mask) V."""

import math

import numpy as np

from convsnn.load.onnx.base import ONNX_OPS, Net, hidden
from convsnn.load.onnx.values import Blocked, Constant, Data, Value, as_data


def _heads(net: Net, x: Data, count: int, part: str) -> Data:
    """(B, tokens, heads * width) as (B, heads, tokens, width)."""
    if len(x.shape) == 3:
        return x
    if count < 1 or len(x.shape) != 2 or x.shape[1] % count:
        raise net.error(f"cannot divide a value of shape {x.shape} among {count} heads")
    tokens, width = x.shape
    split = net.reshape(x, (net.batch, tokens, count, width // count), part=f"{part}.split")
    return net.permute(split, [0, 2, 1, 3], part=part)


@ONNX_OPS.register("Attention")
def attention(
    net: Net,
    q: Value,
    k: Value,
    v: Value,
    attn_mask: Value = None,
    past_key: Value = None,
    past_value: Value = None,
    nonpad: Value = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int = 0,
    q_num_heads: int = 0,
    qk_matmul_output_mode: int = 0,
    scale: float = 0.0,
    softcap: float = 0.0,
    softmax_precision: int = 0,
) -> Data:
    """Attention of opset 23 and newer; its first output."""
    del qk_matmul_output_mode, softmax_precision  # of a second output; what it is computed in
    if any(value is not None for value in (past_key, past_value, nonpad)):
        raise Blocked("it remembers keys and values of earlier calls, or counts them by the data")
    flat = len(as_data(q).shape) == 2
    if flat and q_num_heads != kv_num_heads:
        raise Blocked("it shares keys among heads in a way that is not read")
    query, key, value = (
        _heads(net, as_data(x), heads, part)
        for x, heads, part in (
            (q, q_num_heads, "queries"), (k, kv_num_heads, "keys"), (v, kv_num_heads, "values"),
        )
    )  # fmt: skip
    if query.shape[0] != key.shape[0]:
        raise Blocked("it shares keys among heads in a way that is not read")
    factor = np.full((1,) * 4, scale or 1 / math.sqrt(query.shape[-1]))
    query = net.emit("scale", query, net.made(factor, "scale"), part="scaled")
    turned = net.permute(key, [0, 1, 3, 2], part="turned")
    scores = net.emit("matmul", query, turned, part="scores")
    if softcap:
        inner = net.emit("scale", scores, net.made(np.full((1,) * 4, 1 / softcap), "cap"))
        bent = net.emit("tanh", inner, part="bent")
        scores = net.emit("scale", bent, net.made(np.full((1,) * 4, softcap), "capped"))
    for mask in _masks(net, attn_mask, is_causal, scores):
        scores = net.emit("add_constant", *net.broadcast(scores, mask), part="masked")
    shares = net.emit("softmax_inside", scores, part="shares", dim=3)
    mixed = net.emit("matmul", shares, value, part="" if not flat else "mixed")
    if not flat:
        return mixed
    turned_back = net.permute(mixed, [0, 2, 1, 3], part="turned_back")
    heads, tokens, width = mixed.shape
    return net.reshape(turned_back, (net.batch, tokens, heads * width))


def _masks(net: Net, mask: Value, is_causal: int, scores: Data) -> list[Constant]:
    found = []
    if isinstance(mask, Constant):
        array = mask.array
        if array.dtype == bool:
            array = np.where(array, np.float32(0), np.float32(-np.inf))
        found.append(Constant(f"{mask.name}.added", hidden(array)))
    elif mask is not None:
        raise Blocked("its mask depends on the data")
    if is_causal:
        seen = np.tri(*scores.shape[-2:], dtype=np.int8)
        found.append(net.made(hidden(np.where(seen, np.float32(0), np.float32(-np.inf))), "mask"))
    return found
