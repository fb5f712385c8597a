"""Functions that a file defines, written out where they are called, after counting how much that
would be: functions that call functions can stand for any number of nodes."""

from collections.abc import Iterable, Iterator

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from convsnn.errors import LoadError
from convsnn.load.onnx.budget import Budget
from convsnn.load.onnx.order import inner_graphs
from convsnn.load.onnx.shown import shown

_Key = tuple[str, str, str]
_HINT = "export the network to ONNX again with its functions inlined"


def inlined(path: str, model: onnx.ModelProto, budget: Budget) -> onnx.ModelProto:
    """The model without functions; LoadError where they call themselves or grow too large."""
    if not model.functions:
        budget.read(sum(1 for _ in _all(model.graph.node)), path)
        return model
    sizes = _sizes(path, {_key(f): f for f in model.functions}, budget)
    budget.read(_total(model.graph.node, sizes), path)
    try:
        return onnx.inliner.inline_local_functions(model)
    except (RuntimeError, ValueError, DecodeError, onnx.checker.ValidationError) as error:
        raise LoadError(
            f"{path}: its functions cannot be inlined: {shown(str(error))}", hint=_HINT
        ) from None


def _key(entry: onnx.FunctionProto | onnx.NodeProto) -> _Key:
    name = entry.op_type if isinstance(entry, onnx.NodeProto) else entry.name
    return entry.domain, name, entry.overload


def _all(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes and those of their inner graphs."""
    for node in nodes:
        yield node
        for graph in inner_graphs(node):
            yield from _all(graph.node)


def _total(nodes: Iterable[onnx.NodeProto], sizes: dict[_Key, int]) -> int:
    return sum(sizes.get(_key(node), 1) for node in _all(nodes))


def _sizes(path: str, known: dict[_Key, onnx.FunctionProto], budget: Budget) -> dict[_Key, int]:
    """How many nodes each function stands for, those it calls included."""
    sizes: dict[_Key, int] = {}
    for start in known:
        waiting, open_ = [start], set[_Key]()
        while waiting:
            key = waiting[-1]
            calls = {k for n in _all(known[key].node) if (k := _key(n)) in known} - set(sizes)
            if not calls or key in sizes:
                sizes[key] = _total(known[key].node, sizes)
                open_.discard(waiting.pop())
                continue
            if calls & (open_ | {key}):
                raise LoadError(f"{path}: the function '{shown(key[1])}' calls itself", hint=_HINT)
            open_.add(key)
            waiting += sorted(calls)
            budget.read(0, path)
            if len(open_) > 200:
                raise LoadError(f"{path}: its functions call each other too deeply", hint=_HINT)
    return sizes
