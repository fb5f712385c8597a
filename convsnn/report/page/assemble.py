"""From an evaluation to the report (report.json, schema 1) that every other form is drawn from."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from convsnn.graph import Graph
from convsnn.graph.dense import dense_operations
from convsnn.graph.fits import fitted_nodes, parts_of_fits
from convsnn.graph.ops import Role
from convsnn.measure import Evaluation, energy
from convsnn.measure.energy.spiking import fixed_nodes
from convsnn.measure.evaluate import Series
from convsnn.report.page.estimate import estimate_section
from convsnn.report.page.series import per_step
from convsnn.simulate.trains import sends_graded
from convsnn.spiking.network import Spiking
from convsnn.spiking.schedule import calibrated_for, latency

_PACKAGES = ("convsnn", "torch", "numpy", "onnx", "onnxruntime", "torchvision", "timm")


def packages() -> dict[str, str]:
    """The versions of what a result rests on, for documents that name convsnn's own elsewhere."""
    return {name: number for name, number in versions().items() if name != "convsnn"}


def versions() -> dict[str, str]:
    """The versions that made a result, convsnn among them."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that is not installed
            found[package] = "unknown"
    return found


def assemble(
    net: Spiking,
    evaluation: Evaluation,
    *,
    header: Mapping[str, Any],
    precision: str = "float32",
    asked: energy.Asked | None = None,
) -> dict[str, Any]:
    """The report on `net`; `header` holds the keys command, seed, model, data and method, `asked`
    says what the estimate of its energy rests on (None: all sets of constants, 32-bit floats)."""
    graph, steps = net.graph, evaluation.activity.steps
    joules = energy.ann_joules(graph)
    accuracy = evaluation.accuracy
    return {
        "schema": 1,
        "kind": net.kind,
        "convsnn": versions()["convsnn"],
        **header,
        "timesteps": steps,
        "schedule": _schedule(net, evaluation),
        "precision": precision,
        "ann": {
            "accuracy": evaluation.ann_accuracy,
            "energy_joules": joules,
            "macs": sum(energy.macs(graph, node) for node in graph.nodes),
        },
        "snn": {
            "accuracy": None if accuracy is None else per_step(evaluation, accuracy),
            "agreement": per_step(evaluation, evaluation.agreement),
            "agreement_kind": evaluation.task.agreement_kind,
            "seconds": evaluation.seconds,
        },
        "task": evaluation.task.name,
        "headline": evaluation.task.headline if evaluation.scores else None,
        "metrics": {
            name: _metric(evaluation, series) for name, series in evaluation.scores.items()
        },
        "energy": {
            form: per_step(evaluation, series / joules if joules else torch.zeros_like(series))
            for form, series in _energies(net, evaluation).items()
        },
        "estimate": estimate_section(net, evaluation, asked or energy.Asked()),
        "layers": [_layer(net, evaluation, name) for name in graph.sites],
        "sources": _sources(net, evaluation),
        **({"fitted": fits} if (fits := _fitted(graph)) else {}),
        "not_counted": [*energy.NOT_COUNTED, *_lateral(net), *_held(net), *_smooth(net)],
        **({"smooth": vars(dense_operations(graph))} if graph.smooth else {}),
        "versions": packages(),
    }


def _held(net: Spiking) -> list[str]:
    """What stands still in differential form, which only the estimate charges."""
    if not net.differential:
        return []
    return [
        "what layers and neurons hold in differential form, added and updated at every step, all "
        "of which the estimate charges"
    ]


def _smooth(net: Spiking) -> list[str]:
    """Functions and products, in both networks, which only the estimate charges."""
    if not net.graph.smooth:
        return []
    found = dense_operations(net.graph)
    return [
        f"functions and products, in both networks ({found.evaluations:,} evaluations and "
        f"{found.multiplications:,} multiplications an image in the original), and the "
        f"{found.state:,} sums they are made of over time, all of which the estimate charges"
    ]


def _fitted(graph: Graph) -> list[dict[str, Any]]:
    """The functions that neurons stand for, each with their number and the error of their sum."""
    inside = parts_of_fits(graph)
    return [
        {
            "name": node.name,
            "function": node.attrs["function"].removesuffix("_inside"),
            "neurons": sum(inside.get(site) == node.name for site in graph.sites),
            "error": node.attrs["error"],
        }
        for node in fitted_nodes(graph)
    ]


def _schedule(net: Spiking, evaluation: Evaluation) -> dict[str, Any]:
    """When layers fire, what is scored, and how long an answer takes."""
    steps = evaluation.activity.steps
    late = latency(net.graph, net.schedule, steps)
    return {
        "name": net.schedule,
        "scored": evaluation.activity.at,
        "first_answer": late.first,
        "steps_per_answer": late.every,
        "calibrated_for": calibrated_for(net.plan) if net.schedule == "layers" else None,
    }


def _metric(evaluation: Evaluation, series: Series) -> dict[str, Any]:
    """A score as the report holds it; null where it has no value."""
    return {
        **vars(series.score),
        "ann": _finite(series.ann),
        "snn": per_step(evaluation, series.snn),
    }


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _lateral(net: Spiking) -> list[str]:
    heard = [name for name, planned in net.plan.sites.items() if planned.lateral is not None]
    return [f"lateral input between the neurons of {', '.join(heard)}"] if heard else []


def _energies(net: Spiking, evaluation: Evaluation) -> dict[str, Tensor]:
    """Joules per image up to each step, (T,), in the three forms of `measure.energy`."""
    activity, graph = evaluation.activity, net.graph
    steps = torch.tensor(activity.at, dtype=torch.float64)
    rates = {name: activity.rate(name) for name in graph.sites}
    paper = torch.zeros(len(activity.at), dtype=torch.float64)
    for layer in energy.weighted_layers(graph):
        if layer.analog:
            paper += layer.macs * energy.MAC_JOULES
        else:
            rate = sum((w * rates[s] for s, w in layer.drivers.items()), torch.zeros(1))
            paper += layer.macs * rate * energy.AC_JOULES
    counted = torch.zeros(len(activity.at), dtype=torch.float64)
    cached = torch.zeros(len(activity.at), dtype=torch.float64)
    fixed = fixed_nodes(net)
    for node in graph.nodes:
        if node.name not in activity.operations:
            continue
        joules = activity.operations_per_image(node.name) * energy.joules_per_operation(net, node)
        counted += joules
        cached += joules[0] if node.name in fixed else joules
    return {"paper": paper * steps, "counted": counted, "cached": cached}


def _layer(net: Spiking, evaluation: Evaluation, name: str) -> dict[str, Any]:
    activity, threshold = evaluation.activity, net.plan.sites[name].threshold.double()
    return {
        "name": name,
        "kind": net.kinds[name],
        "neurons": torch.Size(net.graph.shapes[name]).numel(),
        "threshold": {
            "min": float(threshold.min()),
            "mean": float(threshold.mean()),
            "max": float(threshold.max()),
        },
        "firing_rate": per_step(evaluation, activity.rate(name)),
        "sin_ratio": per_step(evaluation, activity.sin_ratio(name)),
        "synaptic_operations": per_step(evaluation, activity.operations_per_image(name)),
        "dead_fraction": per_step(evaluation, activity.dead_fraction(name)),
    }


def _sources(net: Spiking, evaluation: Evaluation) -> list[dict[str, Any]]:
    """What sends graded values without being a neuron: the input, pooling, layers without one."""
    activity = evaluation.activity
    return [
        {
            "name": node.name,
            "kind": node.op,
            "events": per_step(
                evaluation, activity.up_to(activity.events[node.name]) / activity.samples
            ),
            "synaptic_operations": per_step(evaluation, activity.operations_per_image(node.name)),
        }
        for node in net.graph.nodes
        if node.name in activity.operations
        and node.role is not Role.ACTIVATION
        and sends_graded(net, node)
    ]
