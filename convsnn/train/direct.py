"""From an untrained ReLU network to one that is trained as a spiking network from the start.

The graph is the network's plain form, batch norm kept: every ReLU becomes a population of leaky
neurons. What the papers have beside that is a matter of `Form`: lateral input between neurons of
fully connected layers, layers that send potentials (LTMD equations 9 and 10), dropout, and weights
of few bits.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convsnn.errors import ConfigError, LoadError
from convsnn.graph import Graph, Node
from convsnn.passes.edit import rebuild
from convsnn.registry import nearest
from convsnn.spiking.kinds import require_neurons_only
from convsnn.spiking.network import Spiking
from convsnn.train.dropout import ModerateDropout, Twin
from convsnn.train.lateral import Lateral
from convsnn.train.lif import LIF, Output, Sends
from convsnn.train.losses import Loss
from convsnn.train.network import TrainableNetwork
from convsnn.train.result import to_spiking
from convsnn.train.samples import Batch
from convsnn.train.sawb import Sawb
from convsnn.train.scan import ScannedLIF
from convsnn.train.surrogates import SURROGATES
from convsnn.train.thresholds import THRESHOLDS

READ, DROPOUT = "read_neurons", "dropout"  # nodes that only training has
_WEIGHTED = ("conv", "conv_transpose", "linear")


@dataclass(frozen=True, kw_only=True)
class Form:
    """What neurons a network is trained with, and what stands between them.

    `threshold` and `surrogate` are specs of their registries; potentials are multiplied by `decay`
    a step. Neurons of fully connected layers send `outputs`; where that is not "spike", those of
    the last layer do so too, and the answer is their mean instead of that of the last currents.
    `lateral` is what becomes of a network's lateral layers: kept in front of the neurons
    ("feedforward", LTMD's code), fed with what was sent the step before ("recurrent", its
    equation 9; behind the last layer only where that has neurons) or left out. `dropout` stands
    behind the node `drop_behind`; `weight_bits` are 4 or 8, or None. Raises ConfigError for what
    cannot be.
    """

    threshold: str = "lt-snn"
    surrogate: str = "triangle"
    decay: float = 0.5
    reset: Literal["zero", "soft"] = "zero"
    detach_reset: bool = False
    strict: bool = False
    sends: Sends = "one"
    outputs: Output = "spike"
    lateral: Literal["none", "recurrent", "feedforward"] = "none"
    dropout: Literal["none", "plain", "moderate"] = "none"
    p_drop: float = 0.2
    drop_behind: str = ""
    weight_bits: int | None = None

    def __post_init__(self) -> None:
        self.neurons()
        ModerateDropout(self.p_drop)
        if self.weight_bits is not None:
            Sawb(self.weight_bits)
        if self.dropout != "none" and not self.drop_behind:
            raise ConfigError(
                f"{self.dropout} dropout needs a place", hint="name a layer with drop_behind"
            )

    def neurons(self, *, output: Output = "spike", lateral: Lateral | None = None) -> LIF:
        """A population with a threshold of its own."""
        return ScannedLIF(
            THRESHOLDS.create(self.threshold),
            decay=self.decay,
            reset="hard" if self.reset == "zero" else "soft",
            detach_reset=self.detach_reset,
            surrogate=SURROGATES.create(self.surrogate),
            strict=self.strict,
            sends=self.sends,
            output=output,
            lateral=lateral,
        )


@dataclass(frozen=True)
class Untrained:
    """A network ready to be trained, and the graph without what only training has."""

    network: TrainableNetwork
    graph: Graph

    def to_spiking(
        self,
        *,
        encoder: str = "direct",
        record: tuple[Mapping[str, Any], ...] = (),
        provenance: Mapping[str, Any] | None = None,
    ) -> Spiking:
        """The spiking network that was trained, batch norm folded; `encoder` is the spec of what
        shows it its samples.

        Neurons whose potentials are read stand behind a leaky ReLU of slope 1, which leaves the
        original network as it is. UnsupportedError where no simulation has its neurons,
        CalibrationError where a learned threshold is not positive.
        """
        now = self.network.tensors()
        graph = replace(self.graph, tensors={name: now[name] for name in self.graph.tensors})
        if READ in self.network.graph.sites:
            graph = _behind(graph, graph.outputs[0], READ, slope=1.0)
        plain = TrainableNetwork(
            graph,
            {name: self.network.site(name) for name in graph.sites},
            readout=self.network.readout,
        )
        return to_spiking(plain, encoder=encoder, record=record, provenance=provenance)


def prepare(graph: Graph, form: Form) -> Untrained:
    """`graph` with neurons as `form` says, at rest and with thresholds where they start.

    Raises UnsupportedError where `graph` cannot be a spiking network of classes, ConfigError where
    it has no such place or no such layers as `form` asks for.
    """
    graph.require_convertible()
    require_neurons_only(graph, "training")
    kernels = lateral_kernels(graph)
    if form.lateral != "none" and not kernels:
        raise ConfigError(
            f"the network has no lateral layers that could be {form.lateral}",
            hint="train with lateral=none",
        )
    before = {name: graph.by_name[name].inputs[0] for name in kernels}
    if form.lateral != "feedforward":
        graph = rebuild(graph, changed=dict.fromkeys(kernels, ()), rewired=before)
    recurrent = kernels if form.lateral == "recurrent" else {}
    places = {before[name]: kernel for name, kernel in recurrent.items()}
    trained = graph
    if form.outputs != "spike":
        trained = _behind(trained, graph.outputs[0], READ)
    sites: dict[str, nn.Module] = {}
    for name, site in trained.sites.items():
        output = form.outputs if len(site.shape) == 1 else "spike"
        kernel = places.get(trained.by_name[name].inputs[0])
        sites[name] = form.neurons(output=output, lateral=_recurrent(kernel))
    if form.dropout != "none":
        trained = _behind(trained, _known(trained, form.drop_behind), DROPOUT)
        sites[DROPOUT] = _dropout(form)
    network = TrainableNetwork(trained, sites)
    if form.weight_bits is not None:
        _round_weights(network, form.weight_bits)
    return Untrained(network, graph)


def lateral_kernels(graph: Graph) -> dict[str, Tensor]:
    """The lateral layers, current + kernel * current along the neurons' numbers: by the name of
    the sum, the kernel (1, 1, width)."""
    found = {}
    for node in graph.nodes:
        if node.op != "add" or len(graph.data_inputs(node)) != 2:
            continue
        current, branch = node.inputs
        path = [branch]
        while path[-1] != current and len(inputs := graph.data_inputs(graph.by_name[path[-1]])):
            path.append(inputs[0])
        ops = [graph.by_name[name].op for name in path[:-1]]
        if path[-1] == current and ops == ["reshape", "conv", "reshape"]:
            kernel = graph.weight(graph.by_name[path[1]])
            if kernel.dim() == 3 and kernel.shape[:2] == (1, 1):
                found[node.name] = kernel
    return found


@torch.no_grad()
def accuracies(
    network: TrainableNetwork,
    batches: Iterable[tuple[Tensor, Tensor | None]],
    *,
    steps: int,
    device: torch.device | str = "cpu",
) -> list[float]:
    """The share of right answers up to each step, on samples (B, ...), or sequences (T, B, ...),
    with labels (B,)."""
    before = network.training
    network.to(device).eval()
    right, seen = torch.zeros(steps, dtype=torch.float64), 0
    for x, labels in batches:
        if labels is None:
            raise LoadError("the data has no labels to score a trained network by")
        answers = network.predict(network(x.to(device), steps=steps)).argmax(2).cpu()
        right += (answers == labels).sum(1)
        seen += len(labels)
    network.train(before)
    return [float(value) for value in right / max(1, seen)]


@dataclass(frozen=True)
class Judged:
    """A loss of the registry as what the loop makes small; see `loop.Objective`."""

    loss: Loss

    def __call__(self, logits: Tensor, batch: Batch, network: TrainableNetwork) -> Tensor:
        """ConfigError for labels that are not the samples', or of no class of the network."""
        batch.require_labels()
        batch.require_classes(logits.shape[2])
        return self.loss(logits, batch.labels, thresholds=tuple(network.thresholds().values()))


def groups(network: TrainableNetwork, *, threshold_rate: float) -> list[dict[str, Any]]:
    """Parameters for the optimizer: thresholds learn at `threshold_rate` times the rate."""
    rules = [site.threshold for site in network.sites if isinstance(site, LIF)]
    learned = [p for rule in rules for p in rule.parameters()]
    known = {id(p) for p in learned}
    rest = [p for p in network.parameters() if id(p) not in known]
    found: list[dict[str, Any]] = [{"params": rest}]
    return [*found, {"params": learned, "scale": threshold_rate}] if learned else found


def _recurrent(kernel: Tensor | None) -> Lateral | None:
    if kernel is None:
        return None
    lateral = Lateral(kernel.shape[-1], source="recurrent")
    with torch.no_grad():
        lateral.kernel.copy_(kernel)
    return lateral


def _known(graph: Graph, name: str) -> str:
    if name not in graph.by_name:
        raise ConfigError(
            f"the network has no layer '{name}' to drop behind", hint=nearest(name, graph.by_name)
        )
    return name


def _behind(graph: Graph, name: str, new: str, *, slope: float | None = None) -> Graph:
    """`graph` with a site named `new` between node `name` and all that reads it: a ReLU, or a
    leaky one."""
    tensors = dict(graph.tensors)
    added = Node(new, "relu", (name,))
    if slope is not None:
        like = next(iter(tensors.values()))
        tensors[f"{new}.slope"] = torch.full([1] * (1 + len(graph.shapes[name])), slope).to(like)
        added = Node(new, "leaky_relu", (name, f"{new}.slope"))

    def read(place: str) -> str:
        return new if place == name else place

    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.append(replace(node, inputs=tuple(read(i) for i in node.inputs)))
        if node.name == name:
            nodes.append(added)
    return Graph(tuple(nodes), tensors, tuple(read(o) for o in graph.outputs))


def _dropout(form: Form) -> nn.Module:
    if form.dropout == "plain":
        return nn.Dropout(form.p_drop)
    return nn.Sequential(Twin(), ModerateDropout(form.p_drop))


def _round_weights(network: TrainableNetwork, bits: int) -> None:
    """Let layers compute with rounded weights; what is trained are the full ones."""
    attributes = {id(tensor): name for name, tensor in network.named_parameters()}
    tensors = network.tensors()
    weights = [tensors[n.inputs[1]] for n in network.graph.nodes if n.op in _WEIGHTED]
    for key in dict.fromkeys(id(weight) for weight in weights):  # one may serve several layers
        if key in attributes:
            parametrize.register_parametrization(network, attributes[key], Sawb(bits))
