"""What a reader must know of a plan and its neuron before believing the numbers."""

from collections.abc import Iterator
from dataclasses import dataclass

from convsnn.neurons import NEURONS
from convsnn.neurons.msat import SETS, Msat
from convsnn.registry import split_spec
from convsnn.spiking.plan import Plan

LARGEST = 5.0  # V_max above which MSAT's published constants fail; found by working them out


@dataclass(frozen=True)
class Caution:
    """What does not suit, and the option that does."""

    text: str
    remedy: str


def cautions(neuron: str, plan: Plan) -> list[Caution]:
    """Where the neuron's constants, its thresholds and the stages do not suit each other."""
    return [*_scale(neuron, plan), *_mismatches(neuron, plan)]


def _scale(neuron: str, plan: Plan) -> Iterator[Caution]:
    made = NEURONS.create(neuron, threshold=1.0)
    if not isinstance(made, Msat) or made.reference or made.constants not in SETS.values():
        return
    tops = {name: float(site.threshold.max()) for name, site in plan.sites.items()}
    large = [name for name, top in tops.items() if top > LARGEST]
    if not large:
        return
    worst = max(large, key=tops.__getitem__)
    yield Caution(
        f"{len(large)} of {len(tops)} layers have a threshold above {LARGEST:g} (the largest, "
        f"{tops[worst]:.3g}, in '{worst}'), for which the published constants of MSAT are not "
        "made: it falls to nearly nothing after the first step; the neuron's option reference=2 "
        "makes it free of scale",
        f"--neuron {neuron}{',' if ':' in neuron else ':'}reference=2",
    )


def _mismatches(neuron: str, plan: Plan) -> Iterator[Caution]:
    name, options = split_spec(neuron)
    stages = {record["stage"]: record for record in plan.record}
    if "spike-norm" in stages and options.get("reset") != "zero":
        yield Caution(
            "the thresholds of spike-norm are made for neurons that reset to zero: if:reset=zero",
            "--neuron if:reset=zero",
        )
    if "burst" in stages:
        made, gamma = NEURONS.create(neuron, threshold=1.0), stages["burst"]["gamma"]
        if name != "burst" or made.spikes_per_step != gamma:
            yield Caution(
                f"the thresholds of the stage burst are made for the neuron burst:gamma={gamma}",
                f"--neuron burst:gamma={gamma}",
            )
