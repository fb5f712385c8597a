"""From an ONNX file to a graph: its inputs with a free batch, its nodes, its outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from convsnn.errors import LoadError, UnsupportedError
from convsnn.graph import Graph
from convsnn.load.builder import Builder
from convsnn.load.onnx.answer import find_answer
from convsnn.load.onnx.base import Net
from convsnn.load.onnx.budget import Budget
from convsnn.load.onnx.file import INTEGERS, Input, open_file, opset_of
from convsnn.load.onnx.reader import Reader
from convsnn.load.onnx.shown import shown
from convsnn.load.onnx.values import Data

_LARGEST_BATCH = 4096
_PRIMES = (211, 223, 227, 229, 233, 239, 241, 251, 257, 263, 269, 271, 277, 281, 283, 293)


@dataclass(frozen=True)
class Import:
    """A graph read from a file, and what of the file was left out, a sentence each."""

    graph: Graph
    notes: tuple[str, ...]


def load_onnx(
    path: str | Path, *, input_shape: Sequence[int] | None = None, output: str | None = None
) -> Graph:
    """Read an ONNX file of opset 7 or newer into a graph with a free batch on axis 0.

    `input_shape` (one sample) is needed only where the file leaves more than the batch free.
    `output` names the value to take as the answer; without it constants, labels and the like are
    left out, which `read_onnx` tells of. What has no spiking form becomes an opaque node, so that
    `Graph.blockers` names all of it. Raises LoadError where the file is damaged, mixes the
    samples of a batch or takes more than `Budget` allows, UnsupportedError (`.items`: all
    offenders) where the shape behind such an op is not known.
    """
    return read_onnx(path, input_shape=input_shape, output=output).graph


def read_onnx(
    path: str | Path,
    *,
    input_shape: Sequence[int] | None = None,
    output: str | None = None,
    budget: Budget | None = None,
) -> Import:
    """As `load_onnx`, with notes on what was left out."""
    opened = open_file(path, budget)
    answer = find_answer(opened, output)
    model, name = opened.model, shown(path)
    batch = _batch(name, answer.inputs, model)
    net = Net(Builder(), opset_of(model), batch, opened.budget)
    for entry in answer.inputs:
        _enter_input(net, entry, input_shape)
    reader = Reader(net)
    reader.read_nodes(model.graph, answer.nodes, answer.outputs)
    _raise_problems(name, reader)
    return Import(net.builder.finish(_outputs(name, net, answer.outputs)), answer.notes)


def _batch(path: str, inputs: Sequence[Input], model: onnx.ModelProto) -> int:
    """The batch size that the file fixes, or a prime that it uses nowhere."""
    fixed = {i.dims[0] for i in inputs if i.dims and i.dims[0] is not None}
    if len(fixed) > 1:
        sizes = ", ".join(map(str, sorted(fixed)))
        raise LoadError(f"'{path}': its inputs have different batch sizes: {sizes}")
    if fixed:
        batch = fixed.pop()
        if batch > _LARGEST_BATCH:
            raise LoadError(
                f"'{path}' fixes its batch at {batch} samples; it is read up to {_LARGEST_BATCH}",
                hint="export it with the batch axis free, or with a batch of 1",
            )
        return batch
    used = {n for tensor in model.graph.initializer for n in tensor.dims}
    used |= {n for i in inputs for n in i.dims or () if n is not None}
    return next((p for p in _PRIMES if p not in used), 9973)


def _enter_input(net: Net, entry: Input, given: Sequence[int] | None) -> None:
    """Add one data input; LoadError where the shape of a sample is not fixed."""
    shape = _sample_shape(entry, given)
    net.label, net.op = entry.name, "input"
    net.check_size(shape)
    net.builder.layer = entry.name
    name = net.builder.emit("input", shape=list(shape))
    net.values[entry.name] = Data(name, shape, entry.kind in INTEGERS)


def _sample_shape(entry: Input, given: Sequence[int] | None) -> tuple[int, ...]:
    declared = None if entry.dims is None else entry.dims[1:]
    if entry.dims == ():
        raise LoadError(f"input '{entry.name}' is a single number; it has no batch axis")
    shape = declared if given is None else tuple(given)
    if given is not None and declared is not None:
        fits = len(given) == len(declared) and all(
            d is None or d == g for d, g in zip(declared, given, strict=False)
        )
        if not fits:
            raise LoadError(
                f"input '{entry.name}' takes samples of {_written(declared)}, not of {tuple(given)}"
            )
    if shape is None or None in shape:
        raise LoadError(
            f"input '{entry.name}' does not fix the shape of a sample"
            + (f": {_written(shape)}" if shape else ""),
            hint="give the input shape, or export with only the batch axis free",
        )
    return tuple(n for n in shape if n is not None)


def _written(dims: Sequence[int | None]) -> str:
    return f"({', '.join('?' if d is None else str(d) for d in dims)})"


def _raise_problems(path: str, reader: Reader) -> None:
    """What was met cannot be written as a graph: say all of it."""
    if not reader.lost:
        return
    if not reader.blocked and reader.mixed is not None:
        raise reader.mixed
    places = ", ".join(f"{item.layer} ({item.op})" for item in reader.blocked)
    raise UnsupportedError(
        f"{len(reader.blocked)} place(s) of '{path}' would stay analog: {places}"
        + (f"; besides, {reader.mixed}" if reader.mixed else ""),
        reader.blocked,
    )


def _outputs(path: str, net: Net, wanted: Sequence[str]) -> list[str]:
    """Names of the output nodes, one each, in the file's order."""
    inputs = {node.name for node in net.builder.nodes if node.op == "input"}
    names: list[str] = []
    for output in wanted:
        value = net.values.get(output)
        if value is None:
            raise LoadError(f"'{path}': no node makes the output '{output}'")
        if not isinstance(value, Data):
            raise LoadError(f"'{path}': output '{output}' does not depend on the input")
        if value.low:
            raise LoadError(f"'{path}': output '{output}' holds minus infinity")
        net.label = output
        value = net.settled(value)
        if value.mixed is not None:
            if value.order is not None or net.batch != 1 or value.dims is None:
                raise value.mixed
            # a file for one sample may drop the batch axis at the end
            value = net.emit("reshape", value, name=output, shape=list(value.dims))
        if len(wanted) > 1:  # each is called by its own name, whichever are left out later
            value = net.emit("identity", value, name=output, place=len(names))
        elif value.name in inputs:
            value = net.emit("identity", value, name=output)
        names.append(value.name)
    return names
