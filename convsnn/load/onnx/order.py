"""Nodes in an order in which each reads only what stands before it."""

from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

import onnx

from convsnn.errors import LoadError


def inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node holds, such as the branches of an If."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def reads(node: onnx.NodeProto) -> set[str]:
    """Names that a node reads, those of its inner graphs included."""
    names = {name for name in node.input if name}
    for graph in inner_graphs(node):
        names.update(value.name for value in graph.output)
        for inner in graph.node:
            names |= reads(inner)
    return names


def sorted_nodes(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes sorted, as near to the file's order as can be.

    LoadError where two nodes make one value, or nodes read each other in a circle.
    """
    maker: dict[str, int] = {}
    for place, node in enumerate(nodes):
        for name in filter(None, node.output):
            if maker.setdefault(name, place) != place:
                raise LoadError(f"two nodes make the value '{name}'")
    needs = [{maker[name] for name in reads(node) if name in maker} for node in nodes]
    if all(max(need, default=-1) < place for place, need in enumerate(needs)):
        return list(nodes)
    sorter = TopologicalSorter(dict(enumerate(needs)))
    try:
        sorter.prepare()
    except CycleError as error:
        names = " and ".join(f"'{_named(nodes[place])}'" for place in error.args[1][:2])
        raise LoadError(f"nodes read each other in a circle: {names}") from None
    ordered: list[onnx.NodeProto] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        ordered += [nodes[place] for place in ready]
        sorter.done(*ready)
    return ordered


def _named(node: onnx.NodeProto) -> str:
    return node.name or next(filter(None, node.output), node.op_type)
