"""A torch module becomes a graph: traced by `torch.export` with a free batch, then lowered."""

import re
import warnings
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node as FxNode

from convsnn.errors import UnsupportedError, out_of_memory
from convsnn.graph import Graph
from convsnn.load.aten import Lowering, lower
from convsnn.load.builder import Builder, layer_name

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def load_module(module: nn.Module, example: Tensor) -> Graph:
    """Trace `module` (in eval mode) on `example` (B, *input shape).

    Node names are the module's own paths (`layer1.0.conv1`); an op written in a forward method is
    named after the module that calls it (`layer1.0.add`). What cannot be converted becomes an
    opaque node, so that `Graph.blockers` names all of it. Raises UnsupportedError where
    torch.export cannot trace the module at all.
    """
    program = _export(module, example)
    lowering = Lowering(Builder())
    signature = program.graph_signature
    state = {**program.state_dict, **program.constants}
    held = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    outputs: list[str] = []
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
            outputs = [lowering.output(value) for value in _flatten(node.args[0])]
    return lowering.builder.finish(outputs)


def _export(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    parameter = next((p for p in module.parameters() if p.is_floating_point()), example)
    example = example.to(device=parameter.device, dtype=parameter.dtype)
    if len(example) < 2:  # a batch of one would be taken for a constant
        example = example.repeat(2, *[1] * (example.dim() - 1))
    training = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            batch = ({0: torch.export.Dim.AUTO},)
            program = torch.export.export(module, (example,), dynamic_shapes=batch)
            return program.run_decompositions({})
    except Exception as error:  # torch.export raises many types for what it cannot trace
        if out_of_memory(error):
            raise
        text = str(error).strip() or type(error).__name__
        raise UnsupportedError(
            f"torch.export cannot trace {type(module).__name__} on an input of "
            f"{tuple(example.shape[1:])}: {text.splitlines()[0]}",
            hint="check the input shape; control flow that depends on values cannot be traced",
        ) from None
    finally:
        for part, flag in training.items():
            part.training = flag


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
    own = [f for f in frames if "/torch/" not in f[0].replace("\\", "/")]
    if not own:
        return ""
    path, line = own[-1]
    return f"{PurePath(path).name}:{line}"


def _flatten(value: Any) -> list[FxNode]:
    if isinstance(value, (list, tuple)):
        return [item for part in value for item in _flatten(part)]
    return [value] if isinstance(value, FxNode) else []
