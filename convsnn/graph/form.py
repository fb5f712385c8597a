"""The one form a network has inside this project: named nodes, a dictionary of tensors, no code.

A node names its op (a row of `convsnn.graph.ops.OPS`) and its inputs, which are names of earlier
nodes or of tensors. Every node has one output, known by the node's name. Axis 0 of every data value
is the batch and is free. A graph is a value: passes return new ones.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from convsnn.errors import Blocker, LoadError, UnsupportedError
from convsnn.graph.channels import channel_axes
from convsnn.graph.node import Node, Site
from convsnn.graph.ops import OPS, Role
from convsnn.graph.ops.base import SMOOTH
from convsnn.graph.ops.fitted import FITTABLE, FITTED
from convsnn.graph.shapes import sample_shapes

_UNWANTED = {
    Role.FUNCTION: (
        "it is a function of accumulated values, and so analog",
        "allow it with --spikes any, or retrain the network with ReLU and batch norm",
    ),
    Role.PRODUCT: (
        "it multiplies two values that both depend on the input, which takes graded spikes",
        "allow it with --spikes graded or any, or retrain the network without it",
    ),
}


@dataclass(frozen=True)
class Graph:
    """Nodes in an order that can be run, their constant tensors, the names of the outputs."""

    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for node in self.nodes:
            if node.op not in OPS:
                raise LoadError(f"node '{node.name}': unknown op '{node.op}'")
            if node.name in seen or node.name in self.tensors:
                raise LoadError(f"node '{node.name}': the name is taken")
            for name in node.inputs:
                if name not in seen and name not in self.tensors:
                    raise LoadError(f"node '{node.name}': input '{name}' does not come before it")
            seen.add(node.name)
        for name in self.outputs:
            if name not in seen:
                raise LoadError(f"output '{name}' is no node of the graph")
        if not self.outputs:
            raise LoadError("the graph has no output")

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        """Nodes by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def inputs(self) -> tuple[Node, ...]:
        """The input nodes."""
        return tuple(node for node in self.nodes if node.role is Role.INPUT)

    @cached_property
    def input(self) -> Node:
        """The only input node; UnsupportedError where there are several."""
        if len(self.inputs) != 1:
            names = ", ".join(node.name for node in self.inputs) or "none"
            raise UnsupportedError(
                f"a network needs exactly one data input; this has: {names}",
                hint="join the inputs to one tensor, or keep all but one as constants, before it "
                "is exported",
            )
        return self.inputs[0]

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """For each node name the nodes that read it."""
        found: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name in found:
                    found[name].append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def data_inputs(self, node: Node) -> tuple[str, ...]:
        """The inputs of `node` that are nodes, not constant tensors; of a function that neurons
        stand for what they give, which is what a spiking network reads."""
        inputs = node.inputs[:1] if node.op == FITTED else node.inputs
        return tuple(name for name in inputs if name not in self.tensors)

    def weight(self, node: Node) -> Tensor:
        """The weight of a node whose op counts multiply-accumulates."""
        return self.tensors[node.inputs[1]]

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of one sample of every node."""
        return sample_shapes(self.nodes, self.tensors)

    @cached_property
    def sites(self) -> Mapping[str, Site]:
        """Every activation, in the order it is run."""
        return {n.name: self._site(n) for n in self.nodes if n.role is Role.ACTIVATION}

    @property
    def neurons(self) -> int:
        """How many neurons stand for the activations of one sample."""
        return sum(torch.Size(site.shape).numel() for site in self.sites.values())

    def _site(self, node: Node) -> Site:
        before = self.data_inputs(node)[0]
        return Site(
            node.name,
            node.op,
            self.shapes[node.name],
            self._channel_axes[node.name if node.op == "code" else before],
            node.attrs.get("ceiling"),
            self._slope(node),
            node.attrs.get("levels"),
            node.attrs.get("shift", 0.0),
        )

    def _slope(self, node: Node) -> Tensor | None:
        if node.op == "code":  # either sign as it is
            like = next(iter(self.tensors.values()), torch.ones(()))
            return torch.ones((), dtype=like.dtype, device=like.device)
        return self.tensors[node.inputs[1]][0] if len(node.inputs) > 1 else None

    @cached_property
    def smooth(self) -> tuple[Node, ...]:
        """The functions and products, which no neuron stands for, in the order they are run."""
        return tuple(node for node in self.nodes if node.role in SMOOTH)

    @cached_property
    def _channel_axes(self) -> Mapping[str, int]:
        return channel_axes(self.nodes, self.shapes)

    def activate(self, name: str, currents: Tensor) -> Tensor:
        """What the activation of site `name` makes of `currents` (B, *shape)."""
        node = self.by_name[name]
        constants = [self.tensors[i] for i in node.inputs if i in self.tensors]
        return OPS[node.op].run(currents, *constants, **node.attrs)

    def behind(self, roles: Collection[Role]) -> frozenset[str]:
        """Names of the nodes with one of `roles`, and of all that depend on them."""
        found: set[str] = set()
        for node in self.nodes:
            if node.role in roles or found.intersection(node.inputs):
                found.add(node.name)
        return frozenset(found)

    def blockers(self, refused: Collection[Role] = ()) -> tuple[Blocker, ...]:
        """All that would stay analog in a spiking network, each with what can be done.

        `refused` are roles that the network could have and that are not wanted.
        """
        found = [
            Blocker(n.name, n.attrs["kind"], n.attrs["reason"], n.attrs.get("remedy", ""), n.source)
            for n in self.nodes
            if n.role is Role.BLOCKED and n.attrs["reason"]  # no reason: only follows another
        ]
        for node in self.nodes:
            if node.role is Role.READOUT and self._read_by_layers(node):
                reason = f"a {node.op} that is not at the very end would stay analog"
                remedy = "retrain the network without it; as the last layer, a readout, it may stay"
                found.append(Blocker(node.name, node.op, reason, remedy, node.source))
        for node in self.nodes:
            if node.role in refused:
                op = str(node.attrs.get("kind", node.op)).removesuffix("_inside")
                reason, remedy = _UNWANTED[node.role]
                if node.op in FITTABLE:
                    remedy = (
                        f"stand neurons for it with --fit {FITTABLE[node.op]}=if:8, or {remedy}"
                    )
                found.append(Blocker(node.name, op, reason, remedy, node.source))
        return tuple(found)

    def _read_by_layers(self, readout: Node) -> bool:
        """Whether neurons, pools or what is blocked itself read its value."""
        behind = {readout.name}
        for node in self.nodes:
            if behind.isdisjoint(node.inputs):
                continue
            behind.add(node.name)
            if node.role in (Role.ACTIVATION, Role.MAX_POOL, Role.BLOCKED, *SMOOTH):
                return True
        return False

    def require_convertible(self, refused: Collection[Role] = ()) -> None:
        """Raise UnsupportedError with every offender, those of a role that is `refused` among
        them; return silently where there is none."""
        items = self.blockers(refused)
        if items:
            names = ", ".join(f"{i.layer} ({i.op})" for i in items)
            raise UnsupportedError(
                f"{len(items)} place(s) of the network would stay analog: {names}",
                items,
                hint=next((i.remedy for i in items if i.remedy), ""),
            )
        if not self.sites and not self.smooth:
            raise UnsupportedError("the network has no activation that could become a neuron")

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> "Graph":
        """The same graph with its tensors on another device or in another float type."""
        return replace(
            self, tensors={k: v.to(device=device, dtype=dtype) for k, v in self.tensors.items()}
        )

    def topology(self) -> str:
        """Everything but the tensors, as JSON."""
        nodes = [[n.name, n.op, list(n.inputs), dict(n.attrs), n.source] for n in self.nodes]
        return json.dumps({"nodes": nodes, "outputs": list(self.outputs)})

    @staticmethod
    def from_topology(text: str, tensors: Mapping[str, Tensor]) -> "Graph":
        """Inverse of `topology`; LoadError where the text does not describe a graph."""
        try:
            form = json.loads(text)
            nodes = tuple(Node(n, op, tuple(i), a, s) for n, op, i, a, s in form["nodes"])
            outputs = tuple(form["outputs"])
        except (ValueError, TypeError, KeyError) as error:
            raise LoadError(f"the topology is damaged: {error}") from None
        return Graph(nodes, tensors, outputs)
