"""What a benchmark tells beside the race: costs of neurons, of preparing, memory over time."""

import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from calibrate import parse_stages
from calibrate.defaults import ANY_TIME, LAYERS
from convsnn.errors import CalibrationError, ConfigError, ConvsnnError, SimulationError
from convsnn.graph.fits import without_functions
from convsnn.neurons import NEURONS
from convsnn.report.page.assemble import versions
from convsnn.spiking.network import to_spiking
from convsnn.spiking.plan import Context, run_stages
from convsnn.workflows.bench.memory import peak_memory
from convsnn.workflows.bench.peers import PEERS, contenders
from convsnn.workflows.bench.race import Clock, Entry, enter, race, timed
from convsnn.workflows.bench.subject import CALIBRATION, Subject

GROWTH = (16, 256)  # time steps between which memory must stay as it is
_STAGES = (
    *((text, "steps") for text in ("max", "percentile:q=99.9", "mse", ANY_TIME)),
    (LAYERS, "layers"),
)


def machine(device: torch.device) -> dict[str, Any]:
    """The processor, what it computes fast, and how busy it is."""
    asked: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    fast = ("amx_tile", "amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni", "avx_vnni")
    cuda = device.type == "cuda"
    return {
        "processor": asked.get("cpu_name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "has": [name for name in fast if asked.get(name)],
        "gpu": torch.cuda.get_device_name(device) if cuda else None,
        "load": load(),
    }


def load() -> float | None:
    """Processes that wanted to run, on the average of the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def all_versions(peers: Sequence[str]) -> dict[str, str]:
    """Versions of what a result rests on."""
    found = versions()
    for peer in peers:
        try:
            found[peer] = version(peer)
        except PackageNotFoundError:
            found[peer] = "unknown"
    return found


def neuron_specs(text: str) -> list[str]:
    """`if,msat:set=vgg16,reference=2,burst` as specs; ConfigError for an unknown one."""
    found: list[str] = []
    for part in text.split(","):
        more = "=" in part and ":" not in part.partition("=")[0]
        if more and found:
            found[-1] += f",{part}"
        else:
            found.append(part.strip())
    for spec in found:
        NEURONS.create(spec, threshold=1.0)
    return found


def neuron_costs(
    subject: Subject,
    x: Tensor,
    specs: Sequence[str],
    *,
    precisions: Sequence[str],
    steps: int,
    repeats: int,
    clock: Clock,
) -> list[dict[str, Any]]:
    """The time of a step with each neuron, against plain ones in the same engine."""
    pairs: list[tuple[str, Entry]] = []
    rows = []
    for spec in dict.fromkeys(["if", *specs]):
        try:
            net = to_spiking(subject.net.graph, subject.net.plan, neuron=spec)
            entries, failures = enter("convsnn", net, x, precisions=precisions)
        except ConvsnnError as error:
            rows.append(_neuron_row(subject.name, spec, "", reason=str(error)))
            continue
        for failure in failures:
            rows.append(_neuron_row(subject.name, spec, failure.precision, reason=failure.reason))
        pairs += [(spec, entry) for entry in entries]
    race([entry for _, entry in pairs], subject.ann, x, steps=steps, repeats=repeats, clock=clock)
    plain = {e.precision: statistics.median(e.seconds) for spec, e in pairs if spec == "if"}
    for spec, entry in pairs:
        seconds = statistics.median(entry.seconds)
        base = plain.get(entry.precision)
        over = None if base is None else seconds / base
        rows.append(_neuron_row(subject.name, spec, entry.precision, seconds / steps, over))
    return rows


def _neuron_row(
    model: str,
    neuron: str,
    precision: str,
    seconds: float | None = None,
    over: float | None = None,
    reason: str = "",
) -> dict[str, Any]:
    return {
        "model": model,
        "neuron": neuron,
        "precision": precision,
        "step_seconds": seconds,
        "over_if": over,
        "reason": reason,
    }


def stage_seconds(subject: Subject, x: Tensor, peers: Sequence[str]) -> list[dict[str, Any]]:
    """Seconds of what comes before a simulation: reading, calibrating, the peers' conversions; and
    `passes`, those of calibration over the seconds of a pass of the original over its images."""
    net = subject.net
    found = dict(subject.seconds)
    images = subject.images(CALIBRATION, x.device, seed=1)
    graph = without_functions(net.graph)
    with torch.inference_mode():
        once = [timed(lambda: subject.ann(images), x.device) for _ in range(3)]
    passes = {}
    for text, schedule in _STAGES:
        context = Context(graph, [images], net.neuron, net.encoder, 32, 0, schedule)
        what = f"calibrate {text}" + (", layer by layer" if schedule == "layers" else "")
        stages = parse_stages(text)
        try:
            found[what] = timed(partial(run_stages, context, stages), x.device)
            passes[what] = found[what] / statistics.median(once)
        except CalibrationError as error:  # it does not know such a network
            found[f"{what} failed: {error}"] = 0.0
    for engine in (PEERS[peer][0] for peer in peers):
        try:
            way = contenders(engine, net, x)[0]
            found[f"convert with {engine}"] = timed(way.prepare, x.device)
        except Exception as error:  # a peer's own faults come in every type
            reason = f"{type(error).__name__}: {error}"
            found[f"convert with {engine} failed: {reason.splitlines()[0]}"] = 0.0
    return [
        {"model": subject.name, "what": what, "seconds": seconds, "passes": passes.get(what)}
        for what, seconds in found.items()
    ]


def start_seconds() -> float:
    """Seconds until a fresh Python has imported this package."""
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
    command = [sys.executable, "-P", "-c", "import convsnn"]
    environment = {**os.environ, "PYTHONPATH": paths}
    return timed(lambda: subprocess.run(command, env=environment, check=True), torch.device("cpu"))


def add_peaks(
    rows: Sequence[dict[str, Any]],
    subject: Subject,
    settings: Mapping[str, Any],
    clock: Clock,
) -> list[str]:
    """Fill in the peak memory of every row; returns what could not be measured and why."""
    notes = []
    for row in rows:
        try:
            row["peak_memory_bytes"] = _peak(row, row["timesteps"], subject, settings, clock)
        except SimulationError as error:
            notes.append(f"memory of {row['engine']} ({row['precision']}): {error}")
    return notes


def memory_growth(
    rows: Sequence[Mapping[str, Any]],
    subject: Subject,
    settings: Mapping[str, Any],
    clock: Clock,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Peak memory of each engine of `rows` at the steps of GROWTH, and their ratio."""
    found, notes = [], []
    ways = {(r["engine"], r["precision"], r["batch_size"]): r for r in rows}
    for row in ways.values():
        try:
            few, many = (_peak(row, steps, subject, settings, clock) for steps in GROWTH)
        except SimulationError as error:
            notes.append(f"memory of {row['engine']} ({row['precision']}): {error}")
            continue
        entry = {key: row[key] for key in ("model", "engine", "precision", "batch_size")}
        bytes_ = {str(steps): peak for steps, peak in zip(GROWTH, (few, many), strict=True)}
        found.append({**entry, "bytes": bytes_, "growth": many / few if few else None})
    return found, notes


def _peak(
    row: Mapping[str, Any],
    steps: int,
    subject: Subject,
    settings: Mapping[str, Any],
    clock: Clock,
) -> int:
    left = clock.left()
    if left <= 0:
        raise SimulationError("no time was left")
    keys = ("engine", "precision", "mode", "batch_size")
    return peak_memory(
        subject.net,
        None if left == float("inf") else left,
        **{key: row[key] for key in keys},
        **settings,
        timesteps=steps,
    )


def require_peers(text: str | None) -> list[str]:
    """The names in `text`, or all ("none" names none); ConfigError for one that is not known."""
    if text == "none":
        return []
    names = list(PEERS) if text is None else [n.strip() for n in text.split(",") if n.strip()]
    for name in names:
        if name not in PEERS:
            raise ConfigError(
                f"--against {name} is not known", hint=f"choose from {', '.join(PEERS)}, or none"
            )
    return list(dict.fromkeys(names))
