"""A graph that can be trained over time: its tensors are parameters, its sites trainable neurons.

The graph is the one that conversion and simulation use. Layers without state run all T x B values
at once, so batch norm in training mode takes its statistics over time and batch jointly, (T, B,
H, W) per channel (tdBN, Zheng et al. 2021, without its scale). What does not depend on time is run
once. In eval mode `predict` gives what `convsnn.simulate` gives for `to_spiking` of it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from convsnn.errors import ConfigError, UnsupportedError
from convsnn.graph import Graph, Node
from convsnn.graph.ops import OPS, Role
from convsnn.readouts import READOUTS, Readout
from convsnn.spiking.kinds import require_neurons_only
from convsnn.spiking.schedule import Schedule
from convsnn.train.learned import trained_tensors
from convsnn.train.quantiser import Quantiser
from convsnn.train.thresholds import Threshold

MOMENTUM = 0.1  # of the running statistics of batch norm
Values = dict[str, Tensor]


class TrainableNetwork(nn.Module):
    """`graph` with a neuron module at every site: `forward(x)` gives the logits of every step.

    `sites` holds per site name a module that maps currents (T, B, ...) to what is sent, of the
    same shape. `shifts` are added to the currents of every step and are trained too. The state
    dict names the graph's tensors as the graph does; statistics of batch norm and constants are
    buffers. `logits` is the name of the node whose value every step adds to the answer.
    `checkpointing` keeps only the values between blocks of layers for the backward pass and
    computes the rest again: the same gradients from less memory, for long T. With
    `fixed_statistics` batch norm keeps those it came with, in training too. In the `schedule`
    "layers" there are no steps: every site is a `Quantiser`, and there is one logit of all T.

    Raises UnsupportedError where the graph is not convertible or has not exactly one output,
    ConfigError where a site has no module.
    """

    def __init__(
        self,
        graph: Graph,
        sites: Mapping[str, nn.Module],
        *,
        shifts: Mapping[str, Tensor] | None = None,
        readout: str = "mean",
        checkpointing: bool = False,
        fixed_statistics: bool = False,
        schedule: Schedule = "steps",
    ) -> None:
        super().__init__()
        graph.require_convertible()
        require_neurons_only(graph, "training")
        missing = [name for name in graph.sites if name not in sites]
        if missing or len(sites) != len(graph.sites):
            raise ConfigError(f"every site needs one neuron module; {missing or sites.keys()}")
        READOUTS.create(readout)
        self.graph, self.readout, self.checkpointing = graph, readout, checkpointing
        self.fixed_statistics, self.schedule = fixed_statistics, schedule
        self.sites = nn.ModuleList(sites[name] for name in graph.sites)
        self.logits, self._tail = ends(graph)
        # where the graph's tensors are held, by the graph's names
        self.attributes = {name: f"tensor_{i}" for i, name in enumerate(graph.tensors)}
        learned = trained_tensors(graph)
        for name, tensor in graph.tensors.items():
            if name in learned:
                # as what runs over images prefers them; values are the same
                layout = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
                held = tensor.detach().clone(memory_format=layout)
                self.register_parameter(self.attributes[name], nn.Parameter(held))
            else:
                self.register_buffer(self.attributes[name], tensor.detach().clone())
        self._shifts: dict[str, str] = {}
        for i, (name, shift) in enumerate((shifts or {}).items()):
            self._shifts[name] = f"shift_{i}"
            self.register_parameter(self._shifts[name], nn.Parameter(shift.detach().clone()))
        self._recomputing = False

    def site(self, name: str) -> nn.Module:
        """The neuron module of site `name`."""
        return self.sites[list(self.graph.sites).index(name)]

    def tensors(self) -> Values:
        """The graph's tensors as they are now, by the graph's names."""
        return {name: getattr(self, key) for name, key in self.attributes.items()}

    def shifts(self) -> Values:
        """What is added to the currents of every step, by site."""
        return {name: getattr(self, key) for name, key in self._shifts.items()}

    def thresholds(self) -> Values:
        """The thresholds in force, by site; sites whose neurons have none are left out."""
        rules = {name: getattr(self.site(name), "threshold", None) for name in self.graph.sites}
        return {name: rule.value() for name, rule in rules.items() if isinstance(rule, Threshold)}

    def named_weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The graph's trained tensors, by the graph's names."""
        for name, tensor in self.tensors().items():
            if isinstance(tensor, nn.Parameter):
                yield name, tensor

    def forward(self, x: Tensor, *, steps: int) -> Tensor:
        """Logits of every step, (T, B, K), from samples (B, *input shape), the same at every step,
        or from a sequence (T, B, *input shape). ConfigError where steps or shape do not fit."""
        shape = tuple(self.graph.input.attrs["shape"])
        sequence = x.dim() == len(shape) + 2
        if steps < 1:
            raise ConfigError(f"timesteps must be at least 1, not {steps}")
        if tuple(x.shape[1 + sequence :]) != shape or (sequence and len(x) != steps):
            raise ConfigError(
                f"the network takes samples (B, {shape}) or sequences ({steps}, B, {shape}), "
                f"not {tuple(x.shape)}"
            )
        if self.schedule == "layers":
            for site in self.sites:
                if isinstance(site, Quantiser):
                    site.steps = steps
            steps = 1
        moving = self.graph.behind({Role.ACTIVATION, *({Role.INPUT} if sequence else ())})
        values: Values = {self.graph.input.name: x}
        nodes = [n for n in self.graph.nodes if n.role is not Role.INPUT]
        nodes = [n for n in nodes if n.name not in self._tail]
        blocks = _blocks(nodes) if self.checkpointing and torch.is_grad_enabled() else [nodes]
        for i, block in enumerate(blocks):
            needed = {name for later in blocks[i + 1 :] for n in later for name in n.inputs}
            needed.add(self.logits)
            values = self._run_block(block, values, moving, needed, steps, again=len(blocks) > 1)
        logits = values[self.logits]
        return logits if self.logits in moving else logits.expand(steps, *logits.shape)

    def means(self, logits: Tensor) -> Tensor:
        """The mean of the logits (T, B, K) up to each step, as the readout weights it."""
        readout = READOUTS.create(self.readout)
        weights, total = readout.weights(range(len(logits)), logits)
        mean = (logits * weights).cumsum(0) / total.clamp(min=1)
        if not readout.delay:
            return mean
        _, count = Readout().weights(range(len(logits)), logits)
        return torch.where(total > 0, mean, logits.cumsum(0) / count)

    def predict(self, logits: Tensor) -> Tensor:
        """The network's answer up to each step, (T, B, ...), from the logits of each (T, B, K):
        their mean, with softmax and its like applied to that."""
        values = {self.logits: self.means(logits)}
        for node in self.graph.nodes:
            if node.name in self._tail:
                values[node.name] = self._merged(node, values, len(logits))
        return values[self.graph.outputs[0]]

    def _run_block(
        self,
        block: Sequence[Node],
        values: Values,
        moving: frozenset[str],
        needed: set[str],
        steps: int,
        *,
        again: bool,
    ) -> Values:
        """Run some nodes; returns what is `needed` later of their values and of `values`."""
        names = list(values)
        out = [n for n in [*names, *(node.name for node in block)] if n in needed]

        def run(*given: Tensor) -> tuple[Tensor, ...]:
            known = dict(zip(names, given, strict=True))
            for place, node in enumerate(block):
                known[node.name] = self._value(node, known, moving, steps)
                for name in {*node.inputs} & known.keys() - needed:
                    if not any(name in later.inputs for later in block[place + 1 :]):
                        del known[name]
            return tuple(known[name] for name in out)

        if again:
            done = checkpoint(
                run, *values.values(), use_reentrant=False, context_fn=self._contexts()
            )
        else:
            done = run(*values.values())
        return dict(zip(out, done, strict=True))

    def _contexts(
        self,
    ) -> Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
        @contextmanager
        def recomputing() -> Iterator[None]:
            self._recomputing = True  # the statistics of batch norm have been counted already
            try:
                yield
            finally:
                self._recomputing = False

        return lambda: (nullcontext(), recomputing())

    def _value(self, node: Node, values: Values, moving: frozenset[str], steps: int) -> Tensor:
        if node.role is Role.ACTIVATION:
            currents = values[node.inputs[0]]
            if node.name in self._shifts:
                currents = currents + getattr(self, self._shifts[node.name]).to(currents.dtype)
            if node.inputs[0] not in moving:
                currents = currents.expand(steps, *currents.shape)
            return self.site(node.name)(currents)
        if node.name not in moving:
            return self._operate(node, [self._argument(name, values) for name in node.inputs])
        if node.role is Role.MAX_POOL and not node.attrs.get("each_step"):
            source = node.inputs[0]
            summed = self._sequence(source, values, moving, steps).cumsum(0)
            pooled = self._merged(node, {source: summed}, steps)
            return torch.diff(pooled, dim=0, prepend=torch.zeros_like(pooled[:1]))
        sequences = {
            name: self._sequence(name, values, moving, steps)
            for name in self.graph.data_inputs(node)
        }
        return self._merged(node, sequences, steps)

    def _sequence(self, name: str, values: Values, moving: frozenset[str], steps: int) -> Tensor:
        value = values[name]
        return value if name in moving else value.expand(steps, *value.shape)

    def _argument(self, name: str, values: Values) -> Tensor:
        if name in self.attributes:
            tensor: Tensor = getattr(self, self.attributes[name])
            return tensor
        return values[name]

    def _merged(self, node: Node, values: Values, steps: int) -> Tensor:
        """Run an op without state on all steps at once."""
        arguments = [
            self._argument(name, values) if name in self.attributes else values[name].flatten(0, 1)
            for name in node.inputs
        ]
        return self._operate(node, arguments).unflatten(0, (steps, -1))

    def _operate(self, node: Node, arguments: Sequence[Tensor]) -> Tensor:
        if node.op == "batch_norm" and self.training and not self.fixed_statistics:
            x, weight, bias, mean, variance = arguments
            momentum = 0.0 if self._recomputing else MOMENTUM
            return F.batch_norm(
                x, mean, variance, weight, bias, True, momentum, node.attrs["epsilon"]
            )
        return OPS[node.op].run(*arguments, **node.attrs)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, tensor in self.tensors().items():
            destination[prefix + name] = tensor if keep_vars else tensor.detach()
        for name, tensor in self.shifts().items():
            destination[f"{prefix}shift/{name}"] = tensor if keep_vars else tensor.detach()

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        del local_metadata, unexpected_keys
        own = {**self.tensors(), **{f"shift/{n}": t for n, t in self.shifts().items()}}
        for name, tensor in own.items():
            given = state_dict.get(prefix + name)
            if given is None:
                if strict:
                    missing_keys.append(prefix + name)
            elif given.shape != tensor.shape:
                error_msgs.append(f"'{name}' is {tuple(given.shape)}, not {tuple(tensor.shape)}")
            else:
                with torch.no_grad():
                    tensor.copy_(given)


def ends(graph: Graph) -> tuple[str, frozenset[str]]:
    """The node whose value every step adds to the answer, and the nodes behind it."""
    if len(graph.outputs) != 1:
        raise UnsupportedError(
            f"training needs a network with one output; this has {len(graph.outputs)}"
        )
    tail = graph.behind([Role.READOUT])
    if graph.outputs[0] not in tail:
        return graph.outputs[0], frozenset()
    read = {i for n in graph.nodes if n.name in tail for i in graph.data_inputs(n)} - tail
    if len(read) != 1:
        raise UnsupportedError(f"the readout joins several values: {', '.join(sorted(read))}")
    return read.pop(), tail


def _blocks(nodes: Sequence[Node]) -> list[Sequence[Node]]:
    """About as many blocks as each has nodes, which needs the least memory."""
    size = max(1, isqrt(len(nodes)))
    return [nodes[i : i + size] for i in range(0, len(nodes), size)]
