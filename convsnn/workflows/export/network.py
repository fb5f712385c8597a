"""Writes a spiking network, or the artifact that holds one, for others to run: ONNX or NIR."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from convsnn.errors import ConfigError
from convsnn.export.described import described
from convsnn.export.nir import Initial, Place, save_nir
from convsnn.export.onnx import Form, save_onnx
from convsnn.report.document import validate
from convsnn.spiking.network import Spiking
from convsnn.workflows.running.voice import note, warn
from convsnn.workflows.subject.class_names import Names, class_names_of, task_of
from convsnn.workflows.subject.saved import load_saved

Format = Literal["onnx", "nir"]
FORMATS: tuple[Format, ...] = ("onnx", "nir")


Precision = Literal["float32", "float64"]
_FLOATS: Mapping[Precision, torch.dtype] = {"float32": torch.float32, "float64": torch.float64}


def export(
    net: Spiking | str | Path,
    path: str | Path,
    to: Format = "onnx",
    *,
    form: Form | None = None,
    precision: Precision | None = None,
    input: Place | None = None,
    initial: Initial | None = None,
    spikes: bool = False,
    labels: Names | None = None,
    report: Mapping[str, Any] | None = None,
) -> Path:
    """Write `net`, or the network of a result directory, to `path`; returns the path.

    For ONNX, `form` is "step" (the default: one time step a call) or "loop" (all steps in one
    call), "layers" for a network that fires layer by layer; `precision` is "float32", or "float64"
    for sums whose order decides nothing; and `spikes` adds what every layer sent. For NIR, `input`
    says where the input layer is, which is shown a current: as the leading "node" of the graph (the
    default) or on the "host", whose spikes are the input then; `initial` says what becomes of
    initial potentials. `labels` name the classes (default: what the network knows of its data),
    `report` is a report.json whose figures are to go along; that of a result directory is found by
    itself. Raises ExportError, naming the layer, where the format cannot say exactly what the
    network does; then nothing is written.
    """
    if to not in FORMATS:
        raise ConfigError(f"there is no format '{to}'", hint=f"known: {', '.join(FORMATS)}")
    unused: Mapping[str, Any] = {"form": form, "precision": precision, "spikes": spikes or None}
    if to == "onnx":
        unused = {"input": input, "initial": initial}
    for name, value in unused.items():
        if value is not None:
            raise ConfigError(f"--{name} says nothing about {to}", hint=f"leave out --{name}")
    if not isinstance(net, Spiking):
        report = report or report_beside(Path(net))
        net = load_saved(Path(net))
    net, target = net.to(device="cpu"), Path(path)
    texts = described(net, labels=_class_names(net, labels), report=report)
    if to == "onnx":
        net = net if precision is None else net.to(_FLOATS[precision])
        save_onnx(net, target, form=form, spikes=spikes, metadata=texts)
    else:
        _write_nir(net, target, texts, input or "node", initial or "refuse")
    return target


def _class_names(net: Spiking, labels: Names | None) -> list[str] | None:
    """What classes are called, else their numbers; None where the answers are no classes."""
    task = task_of(net, labels=labels)
    names = class_names_of(net, labels, task=task)
    if names is None and task.name in ("classify", "multilabel"):
        names = [str(number) for number in range(net.graph.shapes[net.graph.outputs[0]][0])]
    return names


def _write_nir(
    net: Spiking, path: Path, texts: Mapping[str, str], place: Place, initial: Initial
) -> None:
    steps = net.provenance.get("timesteps")
    said = save_nir(net, path, timesteps=steps, initial=initial, place=place, metadata=texts)
    note(f"input layer: {_PLACES[place]}; the input is {said.shown}")
    for remark in said.remarks:
        warn(remark)


_PLACES: Mapping[Place, str] = {"node": "the leading node of the graph", "host": "on the host"}


def report_beside(artifact: Path) -> Mapping[str, Any] | None:
    """The report.json of a result directory; None where there is none that can be read."""
    folder = artifact if artifact.is_dir() else artifact.parent
    path = folder / "report.json"
    if not path.is_file():
        return None
    try:
        report: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        warn(f"{path} cannot be read, so its figures are left out: {error}")
        return None
    validate(report)
    return report
