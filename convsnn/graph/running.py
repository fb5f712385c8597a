"""Runs the original network: what a graph computes before anything spikes."""

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.graph.form import Graph
from convsnn.graph.node import Node
from convsnn.graph.ops import OPS, Role


def run(
    graph: Graph,
    x: Tensor,
    *,
    keep: Iterable[str] = (),
    start: Mapping[str, Tensor] | None = None,
    watch: Callable[[Node, Tensor], None] | None = None,
) -> dict[str, Tensor]:
    """Run the original network on `x` (B, *input shape).

    Returns the outputs and the values named in `keep`, (B, ...), by node name; every other value
    is freed after its last use. `watch(node, value)` sees each value as it appears. With `start`,
    its values are taken instead of computed.
    """
    for node in graph.inputs:
        if tuple(x.shape[1:]) != tuple(node.attrs["shape"]):
            wanted_shape = ", ".join(map(str, node.attrs["shape"]))
            raise ConfigError(f"the network takes inputs (B, {wanted_shape}), not {tuple(x.shape)}")
    wanted = {*keep, *graph.outputs}
    uses = {node.name: len(graph.consumers[node.name]) for node in graph.nodes}
    values: dict[str, Tensor] = dict(start or {})
    for node in graph.nodes:
        if node.name not in values:
            if node.role is Role.INPUT:
                values[node.name] = x
            else:
                arguments = [
                    graph.tensors[name] if name in graph.tensors else values[name]
                    for name in node.inputs
                ]
                values[node.name] = OPS[node.op].run(*arguments, **node.attrs)
        if watch is not None:
            watch(node, values[node.name])
        for name in dict.fromkeys(i for i in node.inputs if i in uses):
            uses[name] -= 1
            if uses[name] == 0 and name not in wanted:
                del values[name]
    return {name: values[name] for name in dict.fromkeys([*graph.outputs, *keep])}
