"""From an untrained ReLU network to one that is trained as a spiking network from the start.

The graph is the network's plain form, batch norm kept: every ReLU becomes a population of leaky
neurons. What the papers have beside that is a matter of `Form`: lateral input between neurons of
fully connected layers, layers that send potentials (LTMD equations 9 and 10), dropout, and weights
of few bits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from convsnn.errors import ConfigError, LoadError
from convsnn.graph import Graph, Node
from convsnn.measure.tasks import TASKS
from convsnn.passes.edit import rebuild
from convsnn.registry import nearest
from convsnn.spiking.kinds import require_neurons_only
from convsnn.spiking.network import Spiking
from convsnn.train.annealing import advance
from convsnn.train.binary import rounding
from convsnn.train.boxes import BoxLoss
from convsnn.train.dropout import ModerateDropout, Twin
from convsnn.train.form import Form
from convsnn.train.lateral import Lateral
from convsnn.train.lif import LIF, Output
from convsnn.train.losses import Loss
from convsnn.train.network import TrainableNetwork
from convsnn.train.result import to_spiking
from convsnn.train.samples import Batch

READ, DROPOUT = "read_neurons", "dropout"  # nodes that only training has
_WEIGHTED = ("conv", "conv_transpose", "linear")
_ANSWERS: dict[str, Output] = {"spikes": "spike", "potentials": "potential"}


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
        original network as it is, those whose spikes are read behind a ReLU. UnsupportedError
        where no simulation has its neurons, CalibrationError where a learned threshold is not
        positive.
        """
        before = self.network.training
        self.network.eval()  # thresholds may be scored otherwise than they are trained
        try:
            return self._converted(encoder, record, provenance)
        finally:
            self.network.train(before)

    def _converted(
        self,
        encoder: str,
        record: tuple[Mapping[str, Any], ...],
        provenance: Mapping[str, Any] | None,
    ) -> Spiking:
        now = self.network.tensors()
        graph = replace(self.graph, tensors={name: now[name] for name in self.graph.tensors})
        if READ in self.network.graph.sites:
            spikes = isinstance(last := self.network.site(READ), LIF) and last.output == "spike"
            graph = _behind(graph, graph.outputs[0], READ, slope=None if spikes else 1.0)
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
    if form.reads_neurons:
        trained = _behind(trained, graph.outputs[0], READ)
    _require_rules(form, list(trained.sites))
    sites: dict[str, nn.Module] = {}
    for place, (name, site) in enumerate(trained.sites.items()):
        output = form.outputs if len(site.shape) == 1 else "spike"
        if name == READ:
            output = _ANSWERS.get(form.answer, output)
        kernel = places.get(trained.by_name[name].inputs[0])
        sites[name] = form.neurons(
            place=place, shape=site.shape, output=output, lateral=_recurrent(kernel)
        )
    for place, name in enumerate(_places(form)):
        trained = _behind(trained, _known(trained, name), DROPOUT + str(place or ""))
        sites[DROPOUT + str(place or "")] = _dropout(form)
    network = TrainableNetwork(trained, sites)
    if form.weight_bits is not None:
        _round_weights(network, form.weight_bits)
    if form.weight_norm:
        for attribute in _weights(network):
            parametrizations.weight_norm(network, attribute)
    return Untrained(network, graph)


def _places(form: Form) -> list[str]:
    return [] if form.dropout == "none" else [n.strip() for n in form.drop_behind.split(",")]


def _require_rules(form: Form, layers: Sequence[str]) -> None:
    if len(form.rules) not in (1, len(layers)):
        raise ConfigError(
            f"{len(form.rules)} thresholds are given for {len(layers)} layers of neurons",
            hint=f"give one for all, or one for each of {', '.join(layers)}",
        )


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
def scores(
    network: TrainableNetwork,
    batches: Iterable[tuple[Tensor, Tensor | None]],
    *,
    steps: int,
    task: str = "classify",
    device: torch.device | str = "cpu",
) -> list[float | None]:
    """The headline score of `task` up to each step, on samples (B, ...), or sequences
    (T, B, ...), with labels or boxes: the share of right answers, or mean average precision, which
    is None where there are no boxes."""
    told, before = TASKS.create(task), network.training
    network.to(device).eval()
    tally = told.nothing(steps, tuple(network.graph.shapes[network.graph.outputs[0]]))
    for x, labels in batches:
        if labels is None:
            raise LoadError("the data has no labels to score a trained network by")
        answers = network.predict(network(x.to(device), steps=steps)).cpu()
        tally = told.added(tally, told.tally(answers, told.decided(answers), labels))
    network.train(before)
    found = told.scores(tally)[0][1].tolist()
    return [value if isfinite(value) else None for value in found]


@dataclass(frozen=True)
class Judged:
    """A loss of the registry as what the loop makes small; see `loop.Objective`."""

    loss: Loss

    def __call__(self, logits: Tensor, batch: Batch, network: TrainableNetwork) -> Tensor:
        """ConfigError for labels that are not the samples', or of no class of the network."""
        batch.require_labels()
        if not isinstance(self.loss, BoxLoss):
            batch.require_classes(logits.shape[2])
        return self.loss(logits, batch.labels, thresholds=tuple(network.thresholds().values()))

    def right(self, answers: Tensor, batch: Batch) -> Tensor:
        """See `loop.Judging`."""
        if isinstance(self.loss, BoxLoss):
            return self.loss.right(answers, batch.labels)
        return (answers.argmax(1) == batch.labels).float()


@torch.no_grad()
def settle(network: TrainableNetwork, *, limit: float | None = None) -> None:
    """What follows an update: weights beyond `limit` are brought back to it, thresholds that
    change by themselves do."""
    if limit is not None:
        for parameter in groups(network, threshold_rate=1)[0]["params"]:
            parameter.clamp_(-limit, limit)
    advance(network)


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
    for attribute in _weights(network):
        parametrize.register_parametrization(network, attribute, rounding(bits))


def _weights(network: TrainableNetwork) -> list[str]:
    """The attributes of `network` that hold a layer's weights."""
    attributes = {id(tensor): name for name, tensor in network.named_parameters()}
    tensors = network.tensors()
    weights = [tensors[n.inputs[1]] for n in network.graph.nodes if n.op in _WEIGHTED]
    keys = dict.fromkeys(id(weight) for weight in weights)  # one may serve several layers
    return [attributes[key] for key in keys if key in attributes]
