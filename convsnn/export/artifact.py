"""The artifact: one safetensors file that holds a whole spiking network; nothing is unpickled.

Tensors are `graph/NAME`, `weight/NAME` for those that the plan replaces, and what the plan says of
each site: `threshold/SITE`, `potential/SITE`, and any of `shift`, `confidence`, `turn`, `lateral`
and `timed_bias`.
The header's metadata has the single key `convsnn` (its order would vary with more), which is one
JSON object with sorted keys:

    format, kind, topology, neuron, encoder, readout, schedule, plugins, record, provenance,
    versions, sha256

`sha256` is taken over that object without it and over every tensor, so that a file that changed
since it was written is refused. Equal networks give equal bytes.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from convsnn.errors import ConvsnnError, ExportError, LoadError
from convsnn.export.header import FORMAT, KIND, check_header
from convsnn.export.provenance import check_provenance
from convsnn.graph import Graph
from convsnn.graph.ops import Role
from convsnn.report.files import write_bytes_via
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.spiking.plan import Plan, SitePlan

LARGEST = 2**32  # values of one sample that a node may have
_KEY = "convsnn"
_PLANNED = {f.name: f.default is MISSING for f in fields(SitePlan)}  # tensor -> must be there
_AGAIN = "the file is damaged or was not written by convsnn: convert the network again"

# What safetensors and torch raise between them for damaged files and unknown number formats.
_UNREADABLE = (
    OSError, SafetensorError, RuntimeError, ValueError, TypeError, LookupError, AttributeError,
)  # fmt: skip


def save_artifact(net: Spiking, path: str | Path) -> None:
    """Write `net` to `path`, all of it or nothing; equal networks give equal bytes.

    Tensors are written as contiguous ones, from whatever device they are on. Raises ExportError
    where the file cannot be written, where record or provenance are not plain JSON, and where
    the network could not be read again (a threshold that is not positive, an unknown op).
    """
    tensors, header = _tensors(net), _header(net)
    text = _canonical({**header, "sha256": _digest(header, tensors)})
    try:
        _restore(text, tensors)
    except LoadError as error:
        raise ExportError(f"cannot write '{path}': {error}", hint=error.hint) from None
    data = safetensors.torch.save(tensors, {_KEY: text})

    def writer(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_bytes_via(Path(path), writer)


def load_artifact(path: str | Path) -> Spiking:
    """The spiking network in `path`, on the CPU; it simulates to the last bit as it was saved.

    Raises LoadError where the file is missing, damaged, not an artifact, or of a newer format.
    """
    text, tensors = _read(Path(path))
    try:
        return _restore(text, tensors)
    except LoadError as error:
        raise LoadError(f"'{path}': {error}", hint=error.hint or _AGAIN) from None


def is_artifact(path: Path) -> bool:
    """Whether `path` claims to be an artifact; only its header is read, and nothing is raised."""
    if not os.path.isfile(path):
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return _KEY in (file.metadata() or {})
    except _UNREADABLE:
        return False


def _tensors(net: Spiking) -> dict[str, Tensor]:
    """All tensors by their names in the file; copied, since safetensors refuses shared memory."""
    named = {f"graph/{name}": tensor for name, tensor in net.graph.tensors.items()}
    named |= {f"weight/{name}": tensor for name, tensor in net.plan.weights.items()}
    for name, site in net.plan.sites.items():
        named |= {f"{group}/{name}": tensor for group, tensor in site.tensors().items()}
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in named.items()
    }


def _header(net: Spiking) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "format": FORMAT,
        "kind": KIND,
        "topology": json.loads(net.graph.topology()),
        "neuron": net.neuron,
        "encoder": net.encoder.spec(),
        "readout": net.readout,
        "schedule": net.schedule,
        "plugins": list(net.plugins),
        "record": list(net.plan.record),
        "provenance": net.provenance,
        "versions": {"convsnn": _version(), "torch": str(torch.__version__)},
    }
    for key, value in fields.items():
        try:
            # read back at once, since the digest must be that of what a reader will see
            fields[key] = json.loads(_canonical(value))
        except (TypeError, ValueError, RecursionError) as error:
            raise ExportError(
                f"the {key} of the network cannot be written as JSON: {error}",
                hint="put only text, finite numbers, booleans, lists and dictionaries into it",
            ) from None
    return fields


def _version() -> str:
    try:
        return version("convsnn")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))


def _digest(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    rest = {key: value for key, value in header.items() if key != "sha256"}
    digest = hashlib.sha256(_canonical(rest).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name!r} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> tuple[str, dict[str, Tensor]]:
    """The header's text and the tensors of a file, neither of them checked yet."""
    if not os.path.isfile(path):
        what = "is not a plain file" if os.path.exists(path) else "does not exist"
        raise LoadError(
            f"the artifact '{path}' {what}",
            hint="give a result directory of convsnn convert, or its network.safetensors",
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata, names = file.metadata() or {}, sorted(file.keys())
            if _KEY not in metadata:
                raise LoadError(
                    f"'{path}' holds no spiking network, but {len(names)} plain tensor(s) such as "
                    f"{', '.join(names[:3]) or 'none'}",
                    hint="where they are the weights of an ordinary network, convert that first",
                )
            # Copied out of the mapped file, so that a later change to it changes nothing here,
            # and because sums may round differently where the memory is aligned differently.
            tensors = {name: file.get_tensor(name).clone() for name in names}
    except _UNREADABLE as error:
        empty = os.path.isfile(path) and os.path.getsize(path) == 0
        raise LoadError(
            f"'{path}' is empty" if empty else f"'{path}' is no whole safetensors file: {error}",
            hint="give a file that convsnn wrote, and copy again what was cut short",
        ) from None
    return metadata[_KEY], tensors


def _restore(text: str, tensors: Mapping[str, Tensor]) -> Spiking:
    """The network that header and tensors describe; LoadError wherever they do not."""
    try:
        header = json.loads(text)
        check_header(header)
        check_provenance(header["provenance"])
        groups = _grouped(tensors)
        graph = Graph.from_topology(json.dumps(header["topology"]), groups["graph"])
        _check_nodes(graph)
        net = to_spiking(
            graph,
            _plan(graph, groups, header["record"]),
            neuron=header["neuron"],
            encoder=header["encoder"],
            provenance=header["provenance"],
            readout=header["readout"],
            schedule=header.get("schedule", "steps"),  # before there was another
        )
        intact = _digest(header, tensors) == header["sha256"]
    except ConvsnnError as error:
        first = str(error).partition("\n")[0]  # torch's own traces may follow
        raise LoadError(first, hint=error.hint) from None
    except Exception as error:  # a damaged header can make json or any op raise anything
        what = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise LoadError(f"the network is damaged: {what}") from None
    if not intact:
        raise LoadError("the file was changed after it was written: its checksum does not match")
    return net


def _grouped(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    groups: dict[str, dict[str, Tensor]] = {key: {} for key in ("graph", "weight", *_PLANNED)}
    for key, tensor in tensors.items():
        group, _, name = key.partition("/")
        if group not in groups:
            raise LoadError(f"tensor '{key}' has no place in a {KIND}")
        if not tensor.is_floating_point():
            raise LoadError(f"tensor '{key}' is {tensor.dtype}, not a float type")
        if group == "graph" and not bool(tensor.isfinite().all()):
            raise LoadError(f"tensor '{key}' holds values that are not finite")
        groups[group][name] = tensor
    if len({t.dtype for key in ("graph", "weight") for t in groups[key].values()}) > 1:
        raise LoadError("the network's tensors are of more than one float type")
    return groups


def _check_nodes(graph: Graph) -> None:
    """What running on meta tensors does not show."""
    for node in graph.nodes:
        if node.role is Role.INPUT:
            shape = node.attrs.get("shape")
            sizes = isinstance(shape, list) and all(type(s) is int and s > 0 for s in shape)
            if not sizes or len(node.attrs) != 1 or node.inputs:
                raise LoadError(f"input '{node.name}' is not described by a shape alone")
        elif not graph.data_inputs(node):
            raise LoadError(f"node '{node.name}' depends on no input")
    _ = graph.input  # it raises where there is no such one, as shapes do that do not fit together
    for name, shape in graph.shapes.items():
        if math.prod(shape) > LARGEST:
            raise LoadError(f"node '{name}' has {math.prod(shape)} values for one sample")


def _plan(
    graph: Graph, groups: Mapping[str, Mapping[str, Tensor]], record: Iterable[Mapping[str, Any]]
) -> Plan:
    for group, required in _PLANNED.items():
        for name, tensor in groups[group].items():
            if name not in graph.sites:
                raise LoadError(f"tensor '{group}/{name}' belongs to no layer of neurons")
            shape = graph.sites[name].shape
            if group == "timed_bias":  # an entry for each step
                _check_broadcast(f"{group}/{name}", tensor.shape, (*tensor.shape[:1], *shape))
            elif group != "lateral":  # a kernel, which the neurons check
                _check_broadcast(f"{group}/{name}", tensor.shape, shape)
        for name in graph.sites:
            if required and name not in groups[group]:
                raise LoadError(f"tensor '{group}/{name}' is missing")
    sites = {
        name: SitePlan(**{key: groups[key][name] for key in _PLANNED if name in groups[key]})
        for name in graph.sites
    }
    return Plan(sites, groups["weight"], tuple(record))


def _check_broadcast(key: str, shape: tuple[int, ...], site: tuple[int, ...]) -> None:
    padded = (1,) * (len(site) - len(shape)) + tuple(shape)
    if len(padded) != len(site) or any(a not in (1, b) for a, b in zip(padded, site, strict=True)):
        raise LoadError(f"tensor '{key}' of shape {tuple(shape)} does not fit its layer, {site}")
