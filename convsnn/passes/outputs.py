"""What a network answers with: its outputs under the user's own names, labels cut to scores.

A loader that meets several outputs, or one that stands elsewhere in the original, puts an
`identity` behind each (`named`), called as the user calls it: a key, a place, a file's name. Its
attribute `place` says which of the original's outputs it is. Where a network ends in a decision
(the largest of the scores, a score above a bound, a rounding), the decision is no part of what
spikes: it is cut off, and `labels` keeps it, so that the graph can still be held against the
original (`convsnn.load.verify`). Both attributes do nothing when the graph runs.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.graph import Graph, Node
from convsnn.graph.ops import OPS, Role
from convsnn.passes.edit import rebuild
from convsnn.registry import nearest

DECISIONS = {
    "argmax": "the choice of the largest (argmax)",
    "compare": "the comparison with a bound",
    "rounding": "the rounding",
}
_MOVES = ("identity", "reshape")
_PART = ("kind", "reason", "remedy")  # what a piece says of itself, no part of what it computes


@dataclass(frozen=True)
class Output:
    """One output: its name, its place among the original's, the layer it comes from."""

    name: str
    place: int
    layer: str


def named(name: str, layer: str, place: int, *, taken: Collection[str]) -> Node:
    """The node that stands for the original's output number `place`, called `name`.

    A number alone, and a name that is `taken`, get `output.` before it.
    """
    if name.isdigit() or name in taken:
        name = f"output.{name}"
    wanted, count = name, 0
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    return Node(name, "identity", (layer,), {"place": place})


def outputs_of(graph: Graph) -> tuple[Output, ...]:
    """The outputs of a graph, as the user may choose among them."""
    found = []
    for position, name in enumerate(graph.outputs):
        node = graph.by_name[name]
        stands = "place" in node.attrs
        layer = node.inputs[0] if stands else name
        found.append(Output(name, node.attrs.get("place", position), layer))
    return tuple(found)


def choose_output(graph: Graph, wanted: str, *, absent: Mapping[str, str] | None = None) -> Graph:
    """The graph with the one output `wanted`: its name, its place, or the layer it comes from.

    `absent` are outputs of the original that are no part of the graph, each with the reason.
    Raises ConfigError where there is no such output.
    """
    outputs, absent = outputs_of(graph), absent or {}
    for matches in (
        [o for o in outputs if o.name == wanted],
        [o for o in outputs if str(o.place) == wanted or o.name == f"output.{wanted}"],
        [o for o in outputs if o.layer == wanted],
    ):
        if matches:
            return _with_outputs(graph, [matches[0].name])
    if wanted in absent:
        raise ConfigError(f"output '{wanted}' {absent[wanted]}", hint=_known(graph))
    raise ConfigError(f"the network has no output '{wanted}'", hint=_known(graph, wanted))


def settle_outputs(
    graph: Graph, wanted: str | None = None, *, absent: Mapping[str, str] | None = None
) -> tuple[Graph, tuple[str, ...]]:
    """The graph with the outputs that can be scored, and notes on what was left out of it.

    With `wanted` only that output stays. Without, an output that is the input or the same as
    another is left out. A decision at the end is cut off either way. `absent` are outputs that the
    loader left out already, each with the reason. Raises ConfigError as `choose_output` does.
    """
    notes = [] if wanted is not None else [f"output '{k}' {v}" for k, v in (absent or {}).items()]
    if wanted is not None:
        graph = choose_output(graph, wanted, absent=absent)
    graph, cut = _without_decisions(graph)
    graph, same = _without_repeats(graph)
    notes = [*cut, *(f"{note}; left out" for note in (*notes, *same))]
    return graph, tuple(notes)


def decided(node: Node, scores: Tensor) -> Tensor:
    """What the original makes of the scores of an output whose decision was cut off."""
    op, attrs = node.attrs["labels"]
    return OPS[op].run(scores, **attrs, **dict.fromkeys(_PART, ""))


def _known(graph: Graph, wanted: str = "") -> str:
    names = [output.name for output in outputs_of(graph)]
    close = nearest(wanted, names) if wanted else ""
    return close or f"its outputs: {', '.join(names)}"


def _with_outputs(graph: Graph, outputs: Sequence[str]) -> Graph:
    if tuple(outputs) == graph.outputs:
        return graph
    return rebuild(replace(graph, outputs=tuple(outputs)))


def _without_decisions(graph: Graph) -> tuple[Graph, list[str]]:
    """Every decision that only outputs read, cut off."""
    notes, outputs, nodes = [], [], list(graph.nodes)
    for output in outputs_of(graph):
        decision = _decision(graph, output.name)
        if decision is None:
            outputs.append(output.name)
            continue
        scores = decision.inputs[0]
        attrs = {k: v for k, v in decision.attrs.items() if k not in _PART}
        kept = {"place": output.place, "labels": [decision.op, attrs]}
        name = output.name
        if "place" in graph.by_name[name].attrs and not graph.consumers[name]:
            nodes.remove(graph.by_name[name])
        else:
            name = named(f"{scores}.scores", scores, 0, taken={*graph.by_name, *graph.tensors}).name
        nodes.append(Node(name, "identity", (scores,), kept, decision.source))
        outputs.append(name)
        notes.append(
            f"{DECISIONS[decision.op]} at the end, '{decision.name}', is cut off: "
            f"the scores of '{scores}' before it are the answer"
        )
    if not notes:
        return graph, notes
    return rebuild(Graph(tuple(nodes), graph.tensors, tuple(outputs))), notes


def _decision(graph: Graph, output: str) -> Node | None:
    """The decision that `output` is, where nothing else reads it."""
    node = graph.by_name[output]
    while node.op in _MOVES and len(graph.consumers[node.name]) <= 1:
        node = graph.by_name[node.inputs[0]]
    if node.op not in DECISIONS or not node.attrs.get("reason"):
        return None
    readers = graph.consumers[node.name]
    apart = all(reader.op in _MOVES for reader in readers)
    return node if apart and node.inputs[0] in graph.by_name else None


def _without_repeats(graph: Graph) -> tuple[Graph, list[str]]:
    """Without outputs that are the input, or what another output is already."""
    notes, kept, seen = [], [], dict[str, str]()
    for output in outputs_of(graph):
        behind = _behind_moves(graph, output.layer)
        if graph.by_name[behind].role is Role.INPUT:
            notes.append(f"output '{output.name}' is the input itself")
        elif output.layer in seen:
            notes.append(f"output '{output.name}' is '{seen[output.layer]}' again")
        else:
            seen[output.layer] = output.name
            kept.append(output.name)
    return (_with_outputs(graph, kept), notes) if kept else (graph, [])


def _behind_moves(graph: Graph, name: str) -> str:
    while graph.by_name[name].op in _MOVES:
        name = graph.by_name[name].inputs[0]
    return name
