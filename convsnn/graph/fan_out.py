"""How many synapses stand behind each element that is sent: real fan-out, padding edges included.

A value is sent by the input, by neurons, and by whatever makes graded values out of spikes
(pooling, linear interpolation, a layer that feeds another without a neuron between). Sums,
concatenations, slices, permutes and factors only pass on what was sent. Only connections through
weights count, as for the multiply-accumulates of the original network.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from convsnn.graph import Graph, Node
from convsnn.graph.ops import OPS, Role
from convsnn.graph.ops.fitted import FITTED

_PASSED_ON = (
    "add", "sub", "add_constant", "scale", "batch_norm", "concat", "slice", "pad", "reshape",
    "permute", "identity", FITTED,
)  # fmt: skip


def passes_on(node: Node) -> bool:
    """Whether an op hands spikes on as they are, to the elements they came from."""
    return node.op in _PASSED_ON or (node.op == "upsample" and node.attrs["mode"] == "nearest")


def is_weighted(node: Node) -> bool:
    """Whether the op has synapses."""
    return OPS[node.op].macs is not None


def _structure(graph: Graph, node: Node) -> Callable[..., Tensor]:
    """The op with every weight set to one and every offset to zero."""
    op = OPS[node.op]
    if is_weighted(node):
        ones = torch.ones_like(graph.weight(node), dtype=torch.float64)
        return lambda x: op.run(x, ones, **node.attrs)
    if node.op in ("scale", "add_constant", "batch_norm"):
        shape = graph.shapes[node.name]
        return lambda x: x.expand(1, *shape)  # a constant may repeat it along an axis
    if node.op == FITTED:
        return lambda x: x
    if node.op == "sub":
        return lambda a, b: a + b
    return lambda *x: op.run(*x, **node.attrs)


def _pull_back(graph: Graph, node: Node, behind: Tensor) -> list[Tensor]:
    inputs = [
        torch.zeros(1, *graph.shapes[name], dtype=torch.float64, device=behind.device)
        for name in graph.data_inputs(node)
    ]
    for x in inputs:
        x.requires_grad_(True)
    with torch.enable_grad():
        out = _structure(graph, node)(*inputs)
        return list(torch.autograd.grad(out, inputs, behind.expand_as(out)))


@torch.inference_mode(False)  # the caller's own: there are no gradients in it
def fan_out(graph: Graph) -> dict[str, Tensor]:
    """Synapses behind every element of every sending node: name -> (*sample shape), float64."""
    device = next((t.device for t in graph.tensors.values()), torch.device("cpu"))
    behind = {
        node.name: torch.zeros(1, *graph.shapes[node.name], dtype=torch.float64, device=device)
        for node in graph.nodes
    }
    for node in reversed(graph.nodes):
        if is_weighted(node):
            onward = torch.ones_like(behind[node.name])
        elif passes_on(node) and bool(behind[node.name].any()):
            onward = behind[node.name]
        else:
            continue
        parts = _pull_back(graph, node, onward)
        pairs = list(zip(graph.data_inputs(node), parts, strict=True))
        for name, part in dict(pairs).items() if node.op in ("add", "sub") else pairs:
            behind[name] = behind[name] + part
    return {
        node.name: behind[node.name][0]
        for node in graph.nodes
        if not passes_on(node) and bool(behind[node.name].any())
    }


@torch.inference_mode(False)
def synapses(graph: Graph, node: Node) -> Tensor:
    """Connections of one layer with weights behind every element of its input, (*sample shape)."""
    shape = (1, *graph.shapes[node.name])
    device = graph.weight(node).device
    return _pull_back(graph, node, torch.ones(shape, dtype=torch.float64, device=device))[0][0]


def is_graded(node: Node) -> bool:
    """Whether a sending node's values are more than 'spike or none' (neurons say it themselves)."""
    return node.role is not Role.ACTIVATION
