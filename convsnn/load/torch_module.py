"""A torch module becomes a graph: traced by `torch.export` with a free batch, then lowered."""

import re
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.fx import Node as FxNode
from torch.utils import _pytree as pytree

from convsnn.errors import UnsupportedError
from convsnn.graph import Graph
from convsnn.load.aten import Lowering, lower
from convsnn.load.aten.base import MIXED, Constant
from convsnn.load.builder import Builder, layer_name
from convsnn.load.tracing import Traced, trace, trace_fixed
from convsnn.load.wrappers import settle_lazy, unwrapped
from convsnn.passes.outputs import named, settle_outputs

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_TORCH = str(PurePath(torch.__file__).parent)
_FREE = "write x.flatten(1) or x.view(x.size(0), -1), so that the first axis may have any size"
_CONSTANT = "does not depend on the input"


def load_module(
    module: nn.Module,
    example: Tensor,
    *,
    output: str | None = None,
    note: Callable[[str], None] | None = None,
) -> Graph:
    """Trace `module` (in eval mode) on `example` (B, *input shape).

    Node names are the module's own paths (`layer1.0.conv1`); an op written in a forward method is
    named after the module that calls it (`layer1.0.add`). Wrappers (DataParallel, torch.compile,
    AveragedModel) are looked through. What cannot be converted becomes an opaque node, so that
    `Graph.blockers` names all of it. Of several outputs `output` chooses one by its name or place;
    what is left out of the network (see `passes.outputs`) is said to `note`. Raises
    UnsupportedError where the module cannot be traced at all, LoadError where it has no weights,
    ConfigError where it has no such output.
    """
    with unwrapped(module) as inner:
        settle_lazy(inner, example)
        graph, absent = _lowered(inner, example)
    graph, notes = settle_outputs(graph, output, absent=absent)
    for text in notes:
        if note is not None:
            note(text)
    if any(tensor.is_meta for tensor in graph.tensors.values()):
        return graph  # only looked at
    return graph.to(device="cpu")  # wherever the module is


def _lowered(module: nn.Module, example: Tensor) -> tuple[Graph, dict[str, str]]:
    """The graph with all outputs of the original but those that are constant, named here."""
    traced = trace(module, example)
    found = _read(traced)
    place = _fixed_at(found[0])
    if place is None or traced.batch:
        _require_free(module, traced, place)
        return found
    again = trace_fixed(module, example)  # a size stands for the batch, so that it can be followed
    freed = _read(again)
    place = _fixed_at(freed[0])
    if place is None:
        return freed
    if _is_free(traced.program):
        return found  # it mixes samples, whatever their number
    _require_free(module, again, place)
    return freed


def _require_free(module: nn.Module, traced: Traced, place: str | None) -> None:
    """UnsupportedError where a program traced for one batch size moves the batch at `place`."""
    if traced.batch and place is not None:
        raise UnsupportedError(
            f"{type(module).__name__} fixes its batch size{place}: a size taken from the input "
            "there is a plain number, not one that may change",
            hint=_FREE,
        )


def _fixed_at(graph: Graph) -> str | None:
    """Where the batch axis is first lost, as ` in 'layer' at file.py:12`; None where it is kept."""
    for node in graph.nodes:
        if node.op == "opaque" and node.attrs["reason"] == MIXED:
            return f" in '{node.name}'" + (f" at {node.source}" if node.source else "")
    return None


def _is_free(program: ExportedProgram) -> bool:
    """Whether anything in the program still has an axis of any size."""
    values = (node.meta.get("val") for node in program.graph.nodes if node.op == "call_function")
    sizes = [size for value in values if isinstance(value, Tensor) for size in value.shape]
    return any(not isinstance(size, int) for size in sizes)


def _read(traced: Traced) -> tuple[Graph, dict[str, str]]:
    """The program as a graph, and the outputs that are no part of it with the reason."""
    program = traced.program
    lowering = Lowering(Builder(), batch=traced.batch)
    signature = program.graph_signature
    state = {**program.state_dict, **program.constants}
    held = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    names: list[str] = []
    absent: dict[str, str] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in held:
            lowering.enter_constant(node, state[held[node.name]], held[node.name])
        elif node.op == "placeholder":
            lowering.enter_input(node)
        elif node.op == "call_function":
            lowering.builder.layer = _layer(node)
            lowering.builder.source = _source(node)
            lower(lowering, node)
        elif node.op == "output":
            names, absent = _outputs(lowering, list(_user_outputs(program, node)))
    return lowering.builder.finish(names), absent


def _user_outputs(program: ExportedProgram, node: FxNode) -> Iterator[tuple[str, FxNode]]:
    """The tensors that the user's own forward returns, each with its key or place.

    What torch.export adds, buffers that were written and inputs that were changed, is no answer.
    """
    specs = program.graph_signature.output_specs
    values: Any = node.args[0]
    flat = [v for v, s in zip(values, specs, strict=True) if s.kind is OutputKind.USER_OUTPUT]
    spec = program.call_spec.out_spec
    tree = pytree.tree_unflatten(range(len(flat)), spec) if spec is not None else range(len(flat))
    paths = [path for path, _ in pytree.tree_flatten_with_path(tree)[0]]
    for path, value in zip(paths, flat, strict=True):
        if isinstance(value, FxNode) and isinstance(value.meta.get("val"), Tensor):
            yield ".".join(map(_key, path)), value


def _key(entry: Any) -> str:
    """One step into what a forward method returned, as the user writes it."""
    for attribute in ("key", "name", "idx"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def _outputs(
    lowering: Lowering, wanted: list[tuple[str, FxNode]]
) -> tuple[list[str], dict[str, str]]:
    """The output nodes, and the outputs that are constant with the reason; one alone keeps its
    layer's name."""
    if len(wanted) == 1:
        return [lowering.output(wanted[0][1])], {}
    builder, names = lowering.builder, list[str]()
    absent: dict[str, str] = {}
    for place, (key, value) in enumerate(wanted):
        if isinstance(lowering.values[value.name], Constant):
            absent[key] = _CONSTANT
            continue
        taken = {node.name for node in builder.nodes} | builder.tensors.keys()
        node = named(key, lowering.output(value), place, taken=taken)
        builder.nodes.append(node)
        names.append(node.name)
    if not names:
        raise UnsupportedError("no output depends on the input")
    return names, absent


def _layer(node: FxNode) -> str:
    """The user's name of the layer a traced op belongs to."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    stack = [entry for entry in stack if not entry[0].startswith("_empty")]
    path = re.sub(r"@\d+", "", stack[-1][0]) if stack else ""
    kind = stack[-1][1] if stack else ""
    op = getattr(node.target, "_opname", str(node.target)).rstrip("_")
    return layer_name(path, str(kind), op)


def _source(node: FxNode) -> str:
    """`file.py:12` of the innermost frame outside torch itself."""
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    own = [f for f in frames if not f[0].startswith(_TORCH)]
    if not own:
        return ""
    path, line = own[-1]
    return f"{PurePath(path).name}:{line}"
