"""The section `estimate` of a report: counts, what sets of constants make of them, and what the
spiking network is held against.

    counts           of one image, by network and item (series for the spiking network)
    footprint_bytes  what each network holds
    sets             by set: its figures with their sources, joules of every network, `cheaper` the
                     last scored step at which the spiking network costs less than a baseline (0:
                     at none), `left_out` what it charges nothing for
    ratios           to each baseline, the lowest and the highest of the sets
    layers           by site: its mean rate after the last step, and by baseline and set the rate
                     below which it costs less than its part of the baseline (0: at no rate)
    quantised        scores of the networks with few bits, where they were measured
    neurobench       see `convsnn.measure.energy.neurobench`
    crossing         see `convsnn.report.page.crossing`; of networks with functions and products
"""

from collections.abc import Mapping
from typing import Any

from convsnn.measure import Evaluation
from convsnn.measure.energy import Asked, Estimate, Measured, estimate
from convsnn.measure.energy.constants import TABLE, Constants, Figure, Memory
from convsnn.measure.energy.estimate import BASELINES, Priced, bits_for
from convsnn.measure.energy.neurobench import neurobench
from convsnn.measure.energy.rows import ITEMS
from convsnn.report.page.crossing import crossing
from convsnn.report.page.series import per_step
from convsnn.spiking.network import Spiking

KIND = "estimate, not measured"
ALWAYS_LEFT_OUT = (
    "static power and the clock",
    "memory outside the chip",
    "reading and writing of partial sums while they are added up",
)


def estimate_section(net: Spiking, evaluation: Evaluation, asked: Asked) -> dict[str, Any]:
    """What stands under `estimate`, without the scores of quantised networks."""
    activity, seen = evaluation.activity, evaluation.seen
    assert seen is not None  # every evaluation counts zeros
    found = estimate(net, Measured(activity, seen), asked)
    return {
        "kind": KIND,
        "weight_bits": asked.weight_bits,
        "floats": asked.floats,
        "baselines": BASELINES,
        "items": {name: text for name, text in ITEMS.items() if name in _items(found)},
        "counts": {
            name: {
                item: per_step(evaluation, value) if name == "spiking" else float(value)
                for item, value in counts.items()
            }
            for name, counts in found.counts.items()
        },
        "footprint_bytes": {
            name: per_step(evaluation, value) if name == "bit_matched" else float(value)
            for name, value in found.footprint.items()
        },
        "sets": [_set(evaluation, found, one) for one in found.sets],
        "ratios": {name: _range(evaluation, found, name) for name in BASELINES},
        "bit_matched": {"bits": [bits_for(step) for step in range(1, activity.steps + 1)]},
        "layers": _layers(net, evaluation, found),
        "left_out": [*ALWAYS_LEFT_OUT, *found.left_out],
        "quantised": None,
        "neurobench": neurobench(net, activity, seen.connections, weight_bits=asked.weight_bits),
        **({"crossing": crossing(evaluation, found)} if net.graph.smooth else {}),
    }


def _items(found: Estimate) -> set[str]:
    return {item for counts in found.counts.values() for item in counts}


def _set(evaluation: Evaluation, found: Estimate, one: Priced) -> dict[str, Any]:
    cheaper = {}
    for name, theirs in one.baselines.items():
        if theirs is not None:
            below = [
                s for s, yes in zip(found.at, (one.spiking < theirs).tolist(), strict=True) if yes
            ]
            cheaper[name] = max(below, default=0)
    return {
        "name": one.constants.name,
        "about": one.constants.about,
        "weight_bits": one.form.weight,
        "floats": one.form.floats,
        "figures": [*_figures(one.constants), *_derived(found, one.constants)],
        "left_out": one.constants.left_out(),
        "joules": {
            "spiking": per_step(evaluation, one.spiking),
            **{
                name: None if theirs is None else per_step(evaluation, theirs)
                for name, theirs in one.baselines.items()
            },
        },
        "cheaper": cheaper,
    }


def _figures(constants: Constants) -> list[dict[str, Any]]:
    """Every constant with where it is from; `bits` and `bytes` say what it was given for."""
    found: list[dict[str, Any]] = [
        {"name": key, "joules": f.joules, "bits": f.bits, "bytes": None, **_origin(f)}
        for key, f in constants.operations.items()
    ]
    found += [
        {"name": "memory_bit", "joules": m.joules_per_bit, "bits": None, "bytes": m.size}
        | _origin(m)
        for m in constants.memory
    ]
    return found


def _derived(found: Estimate, constants: Constants) -> list[dict[str, Any]]:
    """What elementary functions cost where a set does not say, and there are some."""
    if "lookups" not in _items(found) or "lookup" in constants.operations:
        return []
    source = (
        f"derived: a line between two of {TABLE} entries of a table, which is a multiplication and "
        "an addition of this set, and both entries read"
    )
    joules = constants.lookup(32, floats=constants.knows_floats)
    figure = {"name": "lookup", "joules": joules, "bits": 32, "bytes": None}
    return [figure | {"source": source, "confirmed": False}]


def _origin(figure: Figure | Memory) -> dict[str, Any]:
    return {"source": figure.source, "confirmed": figure.confirmed}


def _range(evaluation: Evaluation, found: Estimate, baseline: str) -> dict[str, Any] | None:
    ends = found.range(baseline)
    if ends is None:
        return None
    low, high = ends
    return {"low": per_step(evaluation, low), "high": per_step(evaluation, high)}


def _layers(net: Spiking, evaluation: Evaluation, found: Estimate) -> list[Mapping[str, Any]]:
    rates = {name: float(evaluation.activity.rate(name)[-1]) for name in net.graph.sites}
    return [
        {
            "name": name,
            "rate": rate,
            "break_even": {
                baseline: {
                    one.constants.name: one.break_even[name][baseline]
                    for one in found.sets
                    if baseline in one.break_even[name]
                }
                for baseline in BASELINES
            },
        }
        for name, rate in rates.items()
    ]
