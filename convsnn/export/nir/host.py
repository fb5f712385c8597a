"""Where a network is cut when its input layer stays on the host.

That layer is all that the input alone decides, and the neurons that it drives: under a constant
image the only place where a current is needed that is no sum of spikes. Chips that take spikes and
nothing else begin behind it.
"""

from dataclasses import dataclass

from convsnn.errors import ExportError
from convsnn.graph import Graph
from convsnn.graph.ops import Role

_NODE = "write it as the leading node (--input node)"


@dataclass(frozen=True)
class Cut:
    """`site` are the neurons whose spikes are the input; `kept` are the nodes that the host keeps,
    these among them, in order."""

    site: str
    kept: tuple[str, ...]


def cut_behind_input_layer(graph: Graph) -> Cut:
    """The cut of `graph`; ExportError where more than the spikes of one layer crosses it."""
    moving = graph.behind([Role.ACTIVATION])
    still = [node.name for node in graph.nodes if node.name not in moving]
    first = [
        node.name for node in graph.nodes
        if node.role is Role.ACTIVATION and not moving.intersection(graph.data_inputs(node))
    ]  # fmt: skip
    kept = {*still, *first}
    crossing = [
        node.name for node in graph.nodes
        if node.name in kept
        and (node.name in graph.outputs
             or any(reader.name not in kept for reader in graph.consumers[node.name]))
    ]  # fmt: skip
    if len(crossing) != 1 or crossing[0] not in first:
        raise ExportError(
            f"the input layer cannot be kept on the host alone: {', '.join(crossing)} are read "
            "behind it, and a NIR graph has one input",
            hint=_NODE,
        )
    ordered = tuple(node.name for node in graph.nodes if node.name in kept)
    return Cut(crossing[0], ordered)
