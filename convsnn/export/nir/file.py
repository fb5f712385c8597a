"""Spiking networks as .nir files, through the package `nir`."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convsnn.errors import ExportError, MissingExtraError
from convsnn.export.nir.ops import LOWER
from convsnn.export.nir.potential import Initial
from convsnn.export.nir.refusal import Written
from convsnn.export.nir.writer import GraphWriter, Place
from convsnn.report.files import write_bytes_via
from convsnn.spiking.network import Spiking


@dataclass(frozen=True)
class Said:
    """What the input of a written graph carries at every step, and remarks on what else has to be
    done outside of it."""

    shown: str
    remarks: tuple[str, ...]


def nir_package() -> Any:
    """The package `nir`; MissingExtraError names the extra that brings it."""
    try:
        import nir  # an extra
    except ImportError:
        raise MissingExtraError("nir, which writes .nir files,", "nir") from None
    return nir


def save_nir(
    net: Spiking, path: Path, *, timesteps: int | None = None, initial: Initial = "refuse",
    place: Place = "node", metadata: Mapping[str, str] | None = None,
) -> Said:  # fmt: skip
    """Write `net` to `path`, all of it or nothing; see `nir_graph`."""
    graph, said = nir_graph(
        net, timesteps=timesteps, initial=initial, place=place, metadata=metadata
    )
    nir = nir_package()

    def writer(temporary: Path) -> None:
        nir.write(temporary, graph)

    write_bytes_via(Path(path), writer)
    return said


def nir_graph(
    net: Spiking, *, timesteps: int | None = None, initial: Initial = "refuse",
    place: Place = "node", metadata: Mapping[str, str] | None = None,
) -> tuple[Any, Said]:  # fmt: skip
    """`net` as a `nir.NIRGraph`, and what has to be done outside of it.

    With its input layer as the leading `node` the input is a current: what the network is shown is
    fed to that layer at every step. With the layer on the `host` the input is its spikes. What NIR
    has no word for but its neurons carry in their metadata: `reset` (subtract or zero),
    `fires` (at or above the threshold), `v_init`, `layer`. Raises ExportError with every layer that
    cannot be said exactly, each with the nearest thing that can; MissingExtraError without `nir`.
    """
    nir = nir_package()
    net = net.to(device="cpu")
    written = GraphWriter(net, timesteps=timesteps, initial=initial, place=place).run(LOWER)
    _require_sayable(written)
    nodes = {name: _node(nir, kind, fields) for name, (kind, fields) in written.nodes.items()}
    about = {"input": written.shown, "input_layer": place, "dt": "1 step"}
    about |= {"reset": "see the neurons' metadata", "readout": net.readout, **(metadata or {})}
    if timesteps is not None:
        about["timesteps"] = str(timesteps)
    graph = nir.NIRGraph(nodes=nodes, edges=written.edges)
    graph.metadata = about
    return graph, Said(written.shown, (*written.remarks, *_remarks(net, initial, place)))


def _require_sayable(written: Written) -> None:
    refused = {r.layer: r for r in reversed(written.refused)}
    if not refused:
        return
    alike: dict[str, list[str]] = {}
    for refusal in reversed(refused.values()):
        alike.setdefault(refusal.reason, []).append(refusal.layer)
    lines = [f"{', '.join(layers)}: {reason}" for reason, layers in alike.items()]
    remedies = dict.fromkeys(r.remedy for r in reversed(refused.values()))
    raise ExportError(
        f"{len(refused)} layer(s) cannot be said exactly in NIR: {'; '.join(lines)}",
        hint="; ".join(remedies),
    )


def _remarks(net: Spiking, initial: Initial, place: Place) -> list[str]:
    found = []
    if net.encoder.spec().startswith("poisson") and place == "node":
        found.append("the input is the encoded image: spikes are drawn on the host")
    if net.readout != "mean":
        found.append(
            f"the network is read out by '{net.readout}', which the graph does not hold: programs "
            "that form the mean over the time steps give other answers (convsnn convert --readout "
            "mean makes a network that is read out so)"
        )
    if initial == "bias":
        found.append(
            "initial potentials are spread over the time steps: the sums are equal at the end, the "
            "spikes are not the same"
        )
    return found


def _array(value: Any) -> Any:
    return value.detach().to(torch.float32).numpy() if isinstance(value, torch.Tensor) else value


def _node(nir: Any, kind: str, fields: Mapping[str, Any]) -> Any:
    given = {key: _array(value) for key, value in fields.items() if key != "sends"}
    if kind in ("Input", "Output"):
        name = "input" if kind == "Input" else "output"
        return getattr(nir, kind)({name: np.array(given["shape"])})
    return _BUILDERS[kind](nir, given)


def _if(nir: Any, given: Mapping[str, Any]) -> Any:
    threshold = given["v_threshold"]
    fields = {"r": np.ones_like(threshold), "v_threshold": threshold}
    if "v_reset" in inspect.signature(nir.IF).parameters:
        fields["v_reset"] = np.zeros_like(threshold)
    node = nir.IF(**fields)
    node.metadata = {key: _array(value) for key, value in given["metadata"].items()}
    return node


def _conv2d(nir: Any, given: Mapping[str, Any]) -> Any:
    pairs = {key: tuple(given[key]) for key in ("stride", "padding", "dilation", "input_shape")}
    return nir.Conv2d(weight=given["weight"], bias=given["bias"], groups=given["groups"], **pairs)


def _conv1d(nir: Any, given: Mapping[str, Any]) -> Any:
    single = {key: int(given[key][0]) for key in ("stride", "padding", "dilation", "input_shape")}
    return nir.Conv1d(weight=given["weight"], bias=given["bias"], groups=given["groups"], **single)


def _affine(nir: Any, given: Mapping[str, Any]) -> Any:
    return nir.Affine(weight=given["weight"], bias=given["bias"])


def _sum_pool(nir: Any, given: Mapping[str, Any]) -> Any:
    sizes = {key: np.array(given[key]) for key in ("kernel_size", "stride", "padding")}
    return nir.SumPool2d(**sizes)


def _flatten(nir: Any, given: Mapping[str, Any]) -> Any:
    shape = {"input": np.array(given["input_type"])}
    return nir.Flatten(input_type=shape, start_dim=0, end_dim=-1)


_BUILDERS: Mapping[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "IF": _if, "Conv1d": _conv1d, "Conv2d": _conv2d, "Affine": _affine, "SumPool2d": _sum_pool,
    "Flatten": _flatten,
}  # fmt: skip
