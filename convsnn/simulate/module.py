"""A spiking network as a torch module: layers under the user's own names, state as a value.

It runs step by step in the float type of its buffers, for hooks, `nn.Sequential`, `.to` and
whatever else expects a module; `simulate` is what is fast.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from convsnn.errors import ConfigError, UnsupportedError
from convsnn.graph import Graph, Node, Site
from convsnn.graph.ops import OPS, Role
from convsnn.neurons import Keys
from convsnn.readouts import READOUTS
from convsnn.readouts.accumulate import accumulate
from convsnn.simulate.loop import require_inputs
from convsnn.simulate.pool import sum_pool
from convsnn.spiking.kinds import require_neurons_only
from convsnn.spiking.network import Spiking
from convsnn.spiking.plan import SitePlan
from convsnn.spiking.population import population


@dataclass(frozen=True)
class NetworkState:
    """What a network holds after `steps` time steps, by layer; a value, as states of neurons are.

    `neurons` as `Neuron.scan` gives them, `pools` and `sums` of max-pooling and of the readout.
    """

    steps: int = 0
    neurons: Mapping[str, Any] = field(default_factory=dict)
    pools: Mapping[str, Any] = field(default_factory=dict)
    sums: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


class Layer(nn.Module):
    """One op; its constants are buffers, named weight and bias where it has these."""

    def __init__(self, node: Node, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.op, self.attrs = node.op, dict(node.attrs)
        self._places: list[str | None] = []  # for each input the buffer, None for a value
        held = [name for name in node.inputs if name in tensors]
        names = ["weight", "bias"] if len(held) <= 2 else []
        for name in node.inputs:
            if name not in tensors:
                self._places.append(None)
                continue
            place = names.pop(0) if names else f"constant{held.index(name)}"
            self.register_buffer(place, tensors[name].detach().clone())
            self._places.append(place)

    def forward(self, *values: Tensor) -> Tensor:
        """The result of the op on values (B, ...)."""
        given = iter(values)
        arguments = [next(given) if p is None else getattr(self, p) for p in self._places]
        return OPS[self.op].run(*arguments, **self.attrs)

    def extra_repr(self) -> str:
        """The op."""
        return self.op


class Population(nn.Module):
    """The neurons of one layer; what its plan says are buffers."""

    def __init__(self, neuron: str, site: Site, planned: SitePlan, number: int) -> None:
        super().__init__()
        self.neuron, self.site, self.number = neuron, site, number
        self._planned = tuple(planned.tensors())
        for name, tensor in planned.tensors().items():
            self.register_buffer(name, tensor.detach().clone())

    def forward(self, current: Tensor, state: Any, ids: Tensor, now: range) -> tuple[Tensor, Any]:
        """The one step `now`: what is sent (B, *shape), threshold x spike, and the state after."""
        planned = SitePlan(**{name: getattr(self, name) for name in self._planned})
        scan = population(self.neuron, self.site, planned).scan
        sent, after = scan(planned.driven(current[None], now), state, keys=Keys(ids, self.number))
        return sent[0], after

    def extra_repr(self) -> str:
        """What neurons stand here."""
        return f"{self.neuron}, {'x'.join(map(str, self.site.shape))}"


class SpikingModule(nn.Module):
    """`net` for `steps` time steps; layers are submodules under the names of the original.

    Calling it runs all steps from rest and gives the answer after the last (B, ...), a tuple where
    the network has several outputs. `step` is one time step. A layer whose name is taken, as `step`
    is, gets a `_` behind it.
    """

    def __init__(self, net: Spiking, *, steps: int) -> None:
        super().__init__()
        if steps < 1:
            raise ConfigError(f"timesteps must be at least 1, not {steps}")
        require_neurons_only(net.graph, "a module of single steps")
        if net.schedule == "layers":
            raise UnsupportedError(
                "a network that fires layer by layer has no single steps to be a module of",
                hint="run it as it is, or let it fire by the schedule 'steps'",
            )
        if net.encoder.steps is not None:
            raise UnsupportedError("a network that is shown sequences is no module of images")
        if net.differential:
            raise UnsupportedError(
                "in differential form layers send changes of what is held behind them, which a "
                "module of single steps does not keep",
                hint="run it as it is, or convert the network without differential",
            )
        self._steps, self._readout, self._encoder = steps, READOUTS.create(net.readout), net.encoder
        self._graph: Graph = net.body
        self._tail = net.body.behind([Role.READOUT])
        read = {i for node in net.body.nodes if node.name in self._tail for i in node.inputs}
        self._ends = ({*net.body.outputs} | read) - self._tail - net.body.tensors.keys()
        self._places: dict[str, str] = {}  # of every node the submodule that it is
        numbers = {name: number for number, name in enumerate(net.graph.sites, 1)}
        for node in net.body.nodes:
            if node.role is Role.ACTIVATION:
                site, planned = net.graph.sites[node.name], net.plan.sites[node.name]
                made: nn.Module = Population(net.neuron, site, planned, numbers[node.name])
            elif node.role is not Role.INPUT:
                made = Layer(node, net.body.tensors)
            else:
                continue
            self._places[node.name] = _place(self, node.name, made)

    def forward(self, x: Tensor) -> Any:
        """The answer to images `x` (B, *input shape) after all steps."""
        state, answer = NetworkState(), None
        for _ in range(self._steps):
            answer, state = self.step(x, state)
        return answer

    def step(
        self, x: Tensor, state: NetworkState | None = None, *, ids: Tensor | None = None
    ) -> tuple[Any, NetworkState]:
        """One more time step: the answer up to it, and the state to go on with (None: from rest).

        `ids` (B,) number the samples, which random neurons key their draws by.
        """
        state = state or NetworkState()
        if not state.steps:
            require_inputs(x, self._graph.input)
        ids = torch.arange(len(x), device=x.device) if ids is None else ids
        now = range(state.steps, state.steps + 1)
        neurons, pools = dict(state.neurons), dict(state.pools)
        values: dict[str, Tensor] = {}
        for node in self._graph.nodes:
            if node.name in self._tail:
                continue
            given = [values[name] for name in node.inputs if name in values]
            if node.role is Role.INPUT:
                values[node.name] = self._encoder.encode(x, ids, now)[0]
            elif node.role is Role.ACTIVATION:
                values[node.name], neurons[node.name] = self._layer(node)(
                    given[0], neurons.get(node.name), ids, now
                )
            elif node.role is Role.MAX_POOL and not node.attrs.get("each_step"):
                passed, pools[node.name] = sum_pool(
                    node, given[0][None], pools.get(node.name), fused=False
                )
                values[node.name] = passed[0]
            else:
                values[node.name] = self._layer(node)(*given)
        answers, sums = self._read(values, now, state.sums)
        outputs = tuple(answers[name] for name in self._graph.outputs)
        after = NetworkState(now.stop, neurons, pools, sums)
        return outputs[0] if len(outputs) == 1 else outputs, after

    def _layer(self, node: Node) -> nn.Module:
        return self.get_submodule(self._places[node.name])

    def _read(
        self, values: Mapping[str, Tensor], now: range, sums: Mapping[str, Mapping[str, Tensor]]
    ) -> tuple[dict[str, Tensor], dict[str, Mapping[str, Tensor]]]:
        """The readout of this step, and its sums after."""
        answers: dict[str, Tensor] = {}
        after: dict[str, Mapping[str, Tensor]] = {}
        for name in self._ends:
            answer, after[name] = accumulate(
                self._readout, values[name][None], now, sums.get(name, {})
            )
            answers[name] = answer[0]
        for node in self._graph.nodes:
            if node.name in self._tail:
                given = [answers[name] for name in node.inputs if name in answers]
                answers[node.name] = self._layer(node)(*given)
        return answers, after

    def extra_repr(self) -> str:
        """How long it runs and what comes in."""
        return f"steps={self._steps}, input={self._encoder.spec()}"


def _place(root: nn.Module, name: str, made: nn.Module) -> str:
    """Make `made` the submodule `name`, whose dots lead through modules as in the original; the
    name that it got."""
    *path, last = name.split(".")
    found = []
    for part in path:
        found.append(_free(root, part))
        inner = root._modules.get(found[-1])
        if inner is None:
            inner = nn.Module()
            root.add_module(found[-1], inner)
        root = inner
    found.append(_free(root, last))
    before = root._modules.get(found[-1])
    if before is not None:  # what stood there only held others
        for child, module in before.named_children():
            made.add_module(child, module)
    root.add_module(found[-1], made)
    return ".".join(found)


def _free(root: nn.Module, part: str) -> str:
    """`part`, where it is no attribute of `root` that is none of its submodules."""
    while not part or (part not in root._modules and hasattr(root, part)):
        part += "_"
    return part
