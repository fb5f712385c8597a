"""One network's row in the table of coverage: counted, read, and in full converted and run."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calibrate import parse_stages
from convsnn.errors import Blocker, LoadError, RewriteError, UnsupportedError
from convsnn.graph import Graph, run
from convsnn.graph.ops import Role
from convsnn.load import load_module, load_onnx, onnx_reference
from convsnn.load.verify import Reference, module_reference
from convsnn.measure.census import Census, count
from convsnn.measure.onnx_census import count_onnx
from convsnn.passes import TOLERANCE, explained
from convsnn.passes.outputs import outputs_of
from convsnn.simulate import simulate
from convsnn.spiking.kinds import kind_of
from convsnn.workflows.convert.network import convert
from convsnn.workflows.coverage.networks import (
    build,
    build_real,
    family,
    file_digest,
    input_shape,
    reduced,
)

EXACT, OPTION, REFUSED, FAILED = "exact", "option", "refused", "failed"
_OPTIONS = {"leaky_relu": "signed neurons"}  # what an op needs beyond the plain neuron
UNCOUNTED = "sites could not be counted independently"
STAGES, STEPS, BATCH = "max", 4, 2


@dataclass(frozen=True)
class Row:
    """What is known of one network.

    `verdict` is exact (`reason` says where the count could not be checked), option (`reason` names
    it), refused (`reason` counts the kinds that would stay analog) or failed (`reason` is the
    fault: a fault of this project until shown otherwise).
    `because` gives for each kind what the refusal says of it.
    `checked` says how far it was run: inspect or full. `gap` is the largest difference of the
    imported network's output to the original's, relative to how far that moves between inputs.
    `digest` is that of the file, where there is one, `kind` that of the network with plain
    neurons (`convsnn.spiking.kinds`), where it converts.
    """

    network: str
    family: str = ""
    input_shape: tuple[int, ...] = ()
    parameters: int | None = None
    census: Census = field(default_factory=Census)
    sites: int | None = None
    verdict: str = FAILED
    reason: str = ""
    because: Mapping[str, str] = field(default_factory=dict)
    checked: str = "inspect"
    gap: float | None = None
    seconds: float = 0.0
    digest: str = ""
    kind: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(form: Mapping[str, Any]) -> "Row":
        """Inverse of `to_json`; TypeError or KeyError where it is not that."""
        return Row(
            **{
                **form,
                "census": Census(**form["census"]),
                "input_shape": tuple(form["input_shape"]),
            }
        )


@dataclass(frozen=True)
class Extent:
    """How far networks are run: `full` conversions of at most `max_parameters`."""

    full: bool = False
    max_parameters: int = 30_000_000
    folder: str = ""


def judge(network: str, extent: Extent) -> Row:
    """The row of `network`; whatever goes wrong is a row too."""
    began = time.perf_counter()
    record = _Record(Row(network))
    try:
        record.note(family=family(network))
        read = _judge_file if network.startswith("onnx:") else _judge_module
        graph = read(record, extent)
        record.note(kind=kind_of(graph, []))
        used = {_OPTIONS[node.op] for node in graph.nodes if node.op in _OPTIONS}
        said = [", ".join(sorted(used)), record.row.reason]
        record.note(verdict=OPTION if used else EXACT, reason="; ".join(filter(None, said)))
    except UnsupportedError as error:
        untraced = str(error).startswith("torch.export")
        reason = _kinds(error.items) or str(error)
        because = {item.op: item.reason for item in reversed(error.items)}
        record.note(verdict=FAILED if untraced else REFUSED, reason=reason, because=because)
    except LoadError as error:  # a file may be damaged or too old; a library's network is neither
        foreign = network.startswith("onnx:")
        record.note(verdict=REFUSED if foreign else FAILED, reason=_first_line(error))
        if foreign:  # what cannot be read is counted with no kind of network
            record.note(census=Census())
    except Exception as error:  # every other type is a fault, and has to be seen as one
        record.note(verdict=FAILED, reason=_first_line(error))
    record.note(seconds=round(time.perf_counter() - began, 1))
    return record.row


class _Record:
    """The row so far: what was found before a fault stays known."""

    def __init__(self, row: Row) -> None:
        self.row = row

    def note(self, **changes: Any) -> None:
        self.row = replace(self.row, **changes)


def _kinds(items: Sequence[Blocker]) -> str:
    """`gelu x12, layer_norm x25`, most frequent first."""
    counts = Counter(item.op for item in items).items()
    return ", ".join(f"{op} x{count}" for op, count in sorted(counts, key=lambda c: (-c[1], c[0])))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def _judge_module(record: _Record, extent: Extent) -> Graph:
    """Read a network of a library: without weights, or in full where it is small enough."""
    network = record.row.network
    module = build(network)
    shape = input_shape(network, module)
    parameters = sum(p.numel() for p in module.parameters())
    record.note(parameters=parameters, input_shape=shape)
    census = count(module, shape)
    record.note(census=census)
    promising = census.sites or census.pieces or census.activations
    if not (extent.full and parameters <= extent.max_parameters and promising):
        graph = load_module(module, torch.empty(BATCH, *shape, device="meta"))
        _compare_counts(record, graph)
        return graph
    shape = reduced(shape, module)
    record.note(checked="full", input_shape=shape)
    module = build_real(network, _images(shape, 0))
    graph = load_module(module, _images(shape, 0))
    _compare_counts(record, graph)
    _run(record, graph, module_reference(module))
    return graph


def _judge_file(record: _Record, extent: Extent) -> Graph:
    """Read an ONNX file of the folder."""
    path = Path(extent.folder) / record.row.network.partition(":")[2]
    record.note(digest=file_digest(path))  # first: a file that changes meanwhile is judged again
    record.note(census=count_onnx(path))
    graph = load_onnx(path)
    statistics = {i for n in graph.nodes if n.op == "batch_norm" for i in n.inputs[3:]}
    parameters = sum(t.numel() for name, t in graph.tensors.items() if name not in statistics)
    record.note(parameters=parameters, input_shape=tuple(graph.input.attrs["shape"]))
    _compare_counts(record, graph)
    if extent.full and parameters <= extent.max_parameters:
        record.note(checked="full")
        _run(record, graph, onnx_reference(path))
    return graph


def _compare_counts(record: _Record, graph: Graph) -> None:
    """Refuse what cannot be converted; else every activation must have become a site."""
    sites = sum(node.role is Role.ACTIVATION for node in graph.nodes)
    record.note(sites=sites)
    graph.require_convertible()
    census = record.row.census
    if sites == census.sites:
        return
    if not census.allows(sites):
        raise RewriteError(f"{sites} sites, but {census.sites} activations")
    record.note(reason=UNCOUNTED)


def _run(record: _Record, graph: Graph, reference: Reference) -> None:
    """Compare with the original, convert, and simulate a few steps, all on random input."""
    example = _images(record.row.input_shape, 0)
    gap = _gap(graph, reference, example)
    record.note(gap=gap if math.isfinite(gap) else None)
    if not gap <= TOLERANCE and not gap <= explained(_own_gap(graph, example)):
        raise RewriteError(f"the imported network is off by {gap:.1e} of what its output moves")
    batches = [_images(record.row.input_shape, seed) for seed in (1, 2)]
    net = convert(graph, example, batches, parse_stages(STAGES), steps=STEPS)
    simulate(net, example, steps=STEPS)


def _gap(graph: Graph, reference: Reference, x: Tensor) -> float:
    """How far the imported network's answers are from those of the original."""
    answers = reference(x)
    wanted = {output.name: answers[output.place] for output in outputs_of(graph)}
    with torch.no_grad():
        return _apart(run(graph, x), wanted)


def _own_gap(graph: Graph, x: Tensor) -> float:
    """How far float32 takes the network's answers from those it has in float64."""
    with torch.no_grad():
        values, exact = run(graph, x), run(graph.to(torch.float64), x.double())
    return _apart(values, {output.name: exact[output.name] for output in outputs_of(graph)})


def _apart(values: Mapping[str, Tensor], answers: Mapping[str, Tensor]) -> float:
    """The largest difference from an answer, in units of its largest difference between samples.

    An output's own scale would not do: where it hardly depends on the input, a network that is
    read wrongly may give nearly the same.
    """
    found = []
    for name, wanted in answers.items():
        moves = float((wanted[1:] - wanted[:1]).abs().max())
        same = values[name].shape == wanted.shape and moves > 0
        found.append(float((values[name] - wanted).abs().max()) / moves if same else math.inf)
    return max(found)


def _images(shape: Sequence[int], seed: int) -> Tensor:
    return torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(seed))
