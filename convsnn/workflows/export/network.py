"""Writes a spiking network, or the artifact that holds one, for others to run: ONNX or NIR."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from convsnn.errors import ConfigError
from convsnn.export.described import described
from convsnn.export.nir import Initial, save_nir
from convsnn.export.onnx import Form, save_onnx
from convsnn.report.document import validate
from convsnn.spiking.network import Spiking
from convsnn.workflows.running.voice import warn
from convsnn.workflows.subject.saved import load_saved

Format = Literal["onnx", "nir"]
FORMATS: tuple[Format, ...] = ("onnx", "nir")


def export(
    net: Spiking | str | Path,
    path: str | Path,
    to: Format = "onnx",
    *,
    form: Form | None = None,
    initial: Initial | None = None,
    spikes: bool = False,
    labels: Sequence[str] | None = None,
    report: Mapping[str, Any] | None = None,
) -> Path:
    """Write `net`, or the network of a result directory, to `path`; returns the path.

    For ONNX, `form` is "step" (the default: one time step a call) or "loop" (all steps in one
    call), and `spikes` adds what every layer sent. For NIR, `initial` says what becomes of initial
    potentials. `labels` name the classes, `report` is a report.json whose figures are to go along;
    that of a result directory is found by itself. Raises ExportError, naming the layer, where the
    format cannot say exactly what the network does; then nothing is written.
    """
    if to not in FORMATS:
        raise ConfigError(f"there is no format '{to}'", hint=f"known: {', '.join(FORMATS)}")
    unused: Mapping[str, Any] = {"form": form, "spikes": spikes or None}
    if to == "onnx":
        unused = {"initial": initial}
    for name, value in unused.items():
        if value is not None:
            raise ConfigError(f"--{name} says nothing about {to}", hint=f"leave out --{name}")
    if not isinstance(net, Spiking):
        report = report or report_beside(Path(net))
        net = load_saved(Path(net))
    net, target = net.to(device="cpu"), Path(path)
    texts = described(net, labels=labels, report=report)
    steps = net.provenance.get("timesteps")
    _WRITERS[to](net, target, texts, steps, form or "step", initial or "refuse", spikes)
    return target


def _write_onnx(
    net: Spiking, path: Path, texts: Mapping[str, str], steps: int | None, form: Form,
    initial: Initial, spikes: bool,
) -> None:  # fmt: skip
    del initial, steps
    save_onnx(net, path, form=form, spikes=spikes, metadata=texts)


def _write_nir(
    net: Spiking, path: Path, texts: Mapping[str, str], steps: int | None, form: Form,
    initial: Initial, spikes: bool,
) -> None:  # fmt: skip
    del form, spikes
    remarks = save_nir(net, path, timesteps=steps, initial=initial, metadata=texts)
    for remark in remarks:
        warn(remark)


_WRITERS: Mapping[Format, Callable[..., None]] = {"onnx": _write_onnx, "nir": _write_nir}


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
