"""Which values of a file are the answer of its network, and which inputs lead to them.

A file may give more than its answer: constants, or the scores as a label, found by ArgMax and
looked up in a table. Beside other outputs these are left out; where a file gives nothing else, the
value they are made from is the answer. So is the value before a rounding at the very end of
a quantised file. What is left out is noted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx

from convsnn.errors import LoadError
from convsnn.load.onnx.file import Input, Opened, data_inputs
from convsnn.load.onnx.order import reads, sorted_nodes
from convsnn.load.onnx.shown import shown
from convsnn.registry import nearest

_SIZES = frozenset({"Shape", "Size"})  # known without running the network
_PICKS = frozenset(
    {
        *("ArgMax", "ArgMin", "TopK", "Hardmax", "NonMaxSuppression", "NonZero"),
        *("ArrayFeatureExtractor", "LabelEncoder", "ZipMap", "CategoryMapper", "Binarizer"),
    }
)
# What may lie behind the pick without being a part of the network: moves, tables, types.
_DRESSING = _PICKS | {
    *("Cast", "CastLike", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Transpose"),
    *("Gather", "GatherElements", "GatherND", "Slice", "Concat", "Split", "OneHot", "CastMap"),
    *("Add", "Sub", "Not", "Equal", "Expand", "Tile", "Greater", "Less", "Where", "Shape"),
}


@dataclass(frozen=True)
class Answer:
    """The values that are the answer, the inputs they need, the nodes between, what was left
    out; `untouched` where that is nothing."""

    outputs: tuple[str, ...]
    inputs: tuple[Input, ...]
    nodes: tuple[onnx.NodeProto, ...]
    notes: tuple[str, ...]
    untouched: bool


@dataclass
class _Flow:
    """What depends on the data inputs, and what lies behind a pick."""

    nodes: Sequence[onnx.NodeProto]
    moving: set[str]
    stored: frozenset[str]
    picked: dict[str, onnx.NodeProto] = field(default_factory=dict)
    maker: dict[str, onnx.NodeProto] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.nodes:
            self.maker.update({name: node for name in node.output if name})
            read = self.moving.intersection(reads(node))
            if not read or node.op_type in _SIZES:
                continue
            self.moving.update(filter(None, node.output))
            before = next((self.picked[name] for name in node.input if name in self.picked), None)
            pick = before or (node if node.op_type in _PICKS else None)
            if pick is not None:
                self.picked.update({name: pick for name in node.output if name})

    def needed(self, wanted: Iterable[str]) -> list[onnx.NodeProto]:
        """The nodes that `wanted` values need, sorted."""
        names = set(wanted)
        chosen = []
        for node in reversed(self.nodes):
            if names.intersection(node.output):
                names |= reads(node)
                chosen.append(node)
        return chosen[::-1]

    def bare(self, output: str) -> bool:
        """Whether only dressing lies between the pick and `output`."""
        behind = [
            node
            for node in self.needed([output])
            if any(name in self.picked for name in node.output)
        ]
        return all(node.op_type in _DRESSING for node in behind)


def find_answer(opened: Opened, output: str | None = None) -> Answer:
    """The answer of a file, or the value `output` of it; LoadError where there is none."""
    graph, path = opened.model.graph, shown(opened.path)
    inputs = data_inputs(opened.model)
    if not inputs:
        raise LoadError(f"'{path}' has no data input")
    stored = frozenset(t.name for t in graph.initializer)
    stored |= {t.values.name for t in graph.sparse_initializer}
    flow = _Flow(sorted_nodes(graph.node), {entry.name for entry in inputs}, stored)
    given = [value.name for value in graph.output]
    notes: list[str] = []
    if output is None:
        outputs = _unrounded(flow, _scores(path, flow, given, notes), notes)
    else:
        outputs = [_named(path, flow, output, given)]
    nodes = flow.needed(outputs)
    used = set(outputs).union(*(reads(node) for node in nodes))
    kept = [entry for entry in inputs if entry.name in used]
    for entry in inputs:
        if entry not in kept:
            notes.append(f"input '{shown(entry.name)}' is read by nothing and is left out")
    untouched = outputs == given and len(kept) == len(inputs)
    return Answer(tuple(outputs), tuple(kept), tuple(nodes), tuple(notes), untouched)


def _named(path: str, flow: _Flow, output: str, given: Sequence[str]) -> str:
    """The value that the user calls `output`: by its own name, or by that of its node."""
    if output in flow.moving:
        return output
    for node in flow.nodes:
        if node.name == output and node.output and node.output[0] in flow.moving:
            return node.output[0]
    raise LoadError(
        f"'{path}' has no value '{shown(output)}' that depends on its input",
        hint=f"{nearest(output, [shown(name) for name in given])}; any other value of the file, "
        "or a node, may be named too",
    )


def _scores(path: str, flow: _Flow, given: Sequence[str], notes: list[str]) -> list[str]:
    """The outputs without constants and labels; where only labels are left, what they are of."""
    for name in given:
        if name not in flow.maker and name not in flow.moving and name not in flow.stored:
            raise LoadError(f"'{path}': no node makes the output '{shown(name)}'")
    moving = [name for name in given if name in flow.moving]
    if not moving:
        names = ", ".join(f"'{shown(name)}'" for name in given)
        raise LoadError(f"'{path}': output {names} does not depend on the input")
    plain = [name for name in moving if name not in flow.picked]
    for name in given:
        if name not in flow.moving:
            notes.append(f"output '{shown(name)}' is a constant and is left out")
        elif plain and name in flow.picked:
            how = flow.picked[name].op_type
            notes.append(f"output '{shown(name)}' is made by {how} and is left out")
    if plain or not all(flow.bare(name) for name in moving):
        return plain or moving
    picks = {id(flow.picked[name]): flow.picked[name] for name in moving}.values()
    outputs = [next(name for name in node.input if name in flow.moving) for node in picks]
    outputs = list(dict.fromkeys(outputs))
    kinds = ", ".join(dict.fromkeys(node.op_type for node in picks))
    names = ", ".join(f"'{shown(name)}'" for name in outputs)
    notes.append(f"the answer is {names}; what {kinds} makes of it is left out")
    return outputs


def _unrounded(flow: _Flow, outputs: Sequence[str], notes: list[str]) -> list[str]:
    """The outputs before the rounding that a quantised file ends in."""
    found = []
    for name in outputs:
        source = _before_rounding(flow.maker, name)
        if source in flow.maker and source in flow.moving:
            text = f"the answer is '{shown(source)}'; the rounding behind it is left out"
            notes.append(text)
            name = source
        found.append(name)
    return found


def _before_rounding(maker: Mapping[str, onnx.NodeProto], name: str) -> str:
    end = maker.get(name)
    if end is None or end.op_type != "DequantizeLinear" or not end.input:
        return ""
    start = maker.get(end.input[0])
    return start.input[0] if start and start.op_type == "QuantizeLinear" and start.input else ""
