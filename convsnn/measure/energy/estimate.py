"""Compares a spiking network with the networks that reviewers ask for, by sets of constants.

    original         the trained network as it is, in 32-bit floats
    zeros_skipped    the same without the operations whose input is zero, as measured
    int8             weights and values of 8 bits
    bit_matched      values of ceil(log2(T + 1)) bits, which tell as many levels apart as T steps
                     do, and weights as the spiking network has them

All under one memory model (`rows`). It is an estimate: nothing here was measured on a chip.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from convsnn.measure.activity import Activity
from convsnn.measure.energy import dense, spiking
from convsnn.measure.energy.constants import Constants, load_constants, set_names
from convsnn.measure.energy.price import FP32, INT8, Format, Price, price, price_by_site
from convsnn.measure.energy.rows import Row, totals
from convsnn.measure.energy.structure import Structure
from convsnn.measure.energy.zeros import Seen
from convsnn.spiking.network import Spiking

BASELINES = {
    "original": "the original in 32-bit floats",
    "zeros_skipped": "the original without operations on zeros, as measured",
    "int8": "the original with weights and values of 8 bits",
    "bit_matched": "the original with values of ceil(log2(T + 1)) bits and the spiking network's "
    "weights",
}
WIDEST = 8  # bits of a value: beyond it the network of 8 bits stands for the one that is matched


def bits_for(steps: int) -> int:
    """Bits of a value that tells as many levels apart as `steps` time steps do, at most 8."""
    return min(WIDEST, steps.bit_length())  # ceil(log2(steps + 1))


@dataclass(frozen=True)
class Asked:
    """What is priced with: `sets` of constants, and the weights that were simulated; sets that
    do not know `floats` price none."""

    sets: tuple[Constants, ...] = field(
        default_factory=lambda: tuple(load_constants(name) for name in set_names())
    )
    weight_bits: int = 32
    floats: bool = True


@dataclass(frozen=True)
class Measured:
    """What the comparison rests on: what the spiking network did, and what the original read."""

    activity: Activity
    seen: Seen


@dataclass(frozen=True)
class Priced:
    """Joules of an image by one set: of the spiking network up to each step, (T,), of the
    baselines, (T,) or None where the set has no price for them; `break_even` by site and baseline
    is the mean rate (spikes per neuron and step, at the last step) up to which the site is cheaper
    than its part of the baseline: 0 where it never is, None where nothing can be said."""

    constants: Constants
    form: Format
    spiking: Tensor
    baselines: Mapping[str, Tensor | None]
    break_even: Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class Estimate:
    """See above; `counts` are those of one image by network and item, `footprint` is in bytes."""

    at: Sequence[int]
    form: Format
    counts: Mapping[str, Mapping[str, Tensor]]
    footprint: Mapping[str, Tensor]
    sets: Sequence[Priced]
    left_out: Sequence[str]

    def ratios(self, baseline: str) -> list[Tensor]:
        """What the spiking network costs as a ratio to a baseline, (T,), by each set that knows."""
        found = ((one.spiking, one.baselines[baseline]) for one in self.sets)
        return [mine / theirs for mine, theirs in found if theirs is not None and theirs.all()]

    def range(self, baseline: str) -> tuple[Tensor, Tensor] | None:
        """The lowest and the highest of `ratios` at every step; None where there are none."""
        ratios = self.ratios(baseline)
        if not ratios:
            return None
        stacked = torch.stack(ratios)
        return stacked.amin(0), stacked.amax(0)

    def mean_joules(self) -> Tensor:
        """The geometric mean over the sets of what the spiking network costs, (T,)."""
        return torch.stack([one.spiking for one in self.sets]).log().mean(0).exp()


def estimate(net: Spiking, measured: Measured, asked: Asked) -> Estimate:
    """What `net` costs up to each of the steps that were scored, beside the baselines."""
    structure = Structure(net.graph, measured.seen.connections)
    activity, samples = measured.activity, measured.activity.samples
    work = spiking.Work(net, activity, structure)
    rows = {
        "spiking": work.rows(),
        "original": dense.dense_rows(structure),
        "zeros_skipped": dense.dense_rows(structure, skipped=measured.seen, samples=samples),
        "quantised": dense.dense_rows(structure, quantised=True),
    }
    form = Format(asked.weight_bits, 32 if asked.floats else 8, floats=asked.floats)
    rates = {name: float(activity.rate(name)[-1]) for name in net.graph.sites}
    return Estimate(
        activity.at,
        form,
        {name: totals(found) for name, found in rows.items()},
        _footprint(net, structure, form, activity.at),
        [_priced(rows, form, each, activity.at, rates) for each in asked.sets],
        work.left_out(),
    )


def _priced(
    rows: Mapping[str, Sequence[Row]],
    form: Format,
    constants: Constants,
    at: Sequence[int],
    rates: Mapping[str, float],
) -> Priced:
    mine = price(rows["spiking"], form, constants).total
    forms: dict[str, tuple[str, Format | None]] = {
        "original": ("original", FP32 if constants.knows_floats else None),
        "zeros_skipped": ("zeros_skipped", FP32 if constants.knows_floats else None),
        "int8": ("quantised", INT8),
        "bit_matched": ("quantised", Format(form.weight, bits_for(at[-1]), form.floats)),
    }
    baselines: dict[str, Tensor | None] = {}
    sites = price_by_site(rows["spiking"], form, constants)
    even: dict[str, dict[str, float | None]] = {name: {} for name in rates}
    for name, (which, theirs) in forms.items():
        if theirs is None:
            baselines[name] = None
            continue
        if name == "bit_matched":
            each = [Format(form.weight, bits_for(steps), form.floats) for steps in at]
            found = torch.cat([price(rows[which], f, constants).total for f in each])
        else:
            found = price(rows[which], theirs, constants).total.expand(len(at))
        baselines[name] = found
        dense_sites = price_by_site(rows[which], theirs, constants)
        for site, rate in rates.items():
            even[site][name] = _break_even(sites.get(site), dense_sites.get(site), rate)
    return Priced(constants, form, mine, baselines, even)


def _break_even(mine: Price | None, theirs: Price | None, rate: float) -> float | None:
    """The rate at which `mine`, a part of which grows with it, costs as much as `theirs`."""
    if mine is None or theirs is None:
        return None
    each = float(mine.by_spikes[-1])
    if not each or not rate:
        return None
    return max(0.0, (float(theirs.total[-1]) - float(mine.fixed[-1])) / each * rate)


def _footprint(
    net: Spiking, structure: Structure, form: Format, at: Sequence[int]
) -> dict[str, Tensor]:
    """Bytes that each network holds: parameters, and potentials or the values of a layer."""
    held, theirs = spiking.values_held(net, structure), dense.values_held(structure)

    def whole(f: Format) -> float:
        bits = theirs["weights"] * f.weight + theirs["biases"] * f.state
        return (bits + theirs["values"] * f.value) / 8

    others = held["biases"] + held["planned"] + held["state"]
    matched = [whole(Format(form.weight, bits_for(steps), form.floats)) for steps in at]
    return {
        "spiking": torch.tensor([(held["weights"] * form.weight + others * form.state) / 8]),
        "original": torch.tensor([whole(FP32)]),
        "int8": torch.tensor([whole(INT8)]),
        "bit_matched": torch.tensor(matched),
    }
