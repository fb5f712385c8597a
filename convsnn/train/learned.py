"""Which tensors of a graph learn."""

from convsnn.graph import Graph

_TRAINED = {"conv": 3, "conv_transpose": 3, "linear": 3, "batch_norm": 3}  # inputs up to here learn


def trained_tensors(graph: Graph) -> frozenset[str]:
    """Names of the tensors that training changes: weights and biases, gains and shifts."""
    return frozenset(
        name
        for node in graph.nodes
        for name in node.inputs[1 : _TRAINED.get(node.op, 0)]
        if name in graph.tensors
    )
