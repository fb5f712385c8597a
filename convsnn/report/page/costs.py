"""The estimate of energy in words: what a table, a page and the headline say of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convsnn.report.document import Report
from convsnn.report.page.crossing import crossing_in_words
from convsnn.report.page.metrics import headline
from convsnn.report.page.summary import by_layers
from convsnn.report.wording import COUNTED, bound_in_points, counted, points, significant

NAMES = {
    "original": "the ANN",
    "zeros_skipped": "the ANN without its zeros",
    "int8": "an 8-bit ANN",
    "bit_matched": "an ANN of as many levels",
}
COLUMNS = {
    "original": "ANN",
    "zeros_skipped": "no zeros",
    "int8": "int8",
    "bit_matched": "same levels",
}


@dataclass(frozen=True)
class Beside:
    """The spiking network after `step` steps beside the others: `ratios` in words, by baseline, the
    `bits` of the network that tells as many levels apart, and its `score`."""

    step: int
    ratios: Mapping[str, str]
    bits: int
    score: float | None


def estimate_of(report: Report) -> Mapping[str, Any] | None:
    """The section; None in reports that have none."""
    found: Mapping[str, Any] | None = report.get("estimate")
    return found


def chosen_step(report: Report) -> int:
    """The step to run at where one was found, else the last."""
    point = report.get("point")
    found = None if point is None else point["step"]
    return int(report["timesteps"] if found is None else found)


def span(low: float, high: float) -> str:
    """Two ends as one text."""
    ends = significant(low, 2), significant(high, 2)
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def ratio(estimate: Mapping[str, Any], baseline: str, step: int) -> str:
    """What the spiking network costs as a ratio to a baseline, over the sets; a dash for none."""
    found = estimate["ratios"][baseline]
    return "-" if found is None else span(found["low"][step - 1], found["high"][step - 1])


def spent(report: Report, step: int) -> str:
    """The energy after `step` steps as a ratio to the original's, which is what stands at the top:
    the estimate over the sets that price the original, else what was counted."""
    estimate = estimate_of(report)
    if estimate is None or estimate["ratios"]["original"] is None:
        return significant(report["energy"]["counted"][step - 1])
    return ratio(estimate, "original", step)


def spent_by(report: Report) -> str:
    """What `spent` is."""
    estimate = estimate_of(report)
    found = estimate is not None and estimate["ratios"]["original"] is not None
    return f"{estimate['kind']}, ANN = 1" if estimate is not None and found else COUNTED


def narrow(text: str) -> str:
    """A span for a table, where room is short."""
    return text.replace(" to ", "..")


def beside(report: Report, steps: Sequence[int]) -> list[Beside]:
    """One entry for each of `steps`; none without an estimate."""
    estimate = estimate_of(report)
    if estimate is None:
        return []
    scores = (estimate["quantised"] or {}).get("bits", {})
    found = []
    for step in steps:
        bits = estimate["bit_matched"]["bits"][step - 1]
        ratios = {name: ratio(estimate, name, step) for name in NAMES}
        found.append(Beside(step, ratios, bits, scores.get(str(bits))))
    return found


def sets_named(estimate: Mapping[str, Any]) -> str:
    """The sets of constants that were priced with."""
    return ", ".join(one["name"] for one in estimate["sets"])


def energy_in_words(report: Report, step: int) -> str:
    """What the network spends after `step` steps, beside the ANN and the one of as many levels."""
    estimate = estimate_of(report)
    if estimate is None:
        counted = report["energy"]["counted"][step - 1]
        return f"energy {significant(counted)} times the ANN's (counted)"
    (at,) = beside(report, [step])
    parts = []
    if at.ratios["original"] != "-":
        parts.append(f"{at.ratios['original']} times the ANN's")
    if at.ratios["int8"] != "-":
        parts.append(f"{at.ratios['int8']} times an int8 ANN's")
    if at.ratios["bit_matched"] != "-":
        score = _score(report, at)
        parts.append(f"{at.ratios['bit_matched']} times that of {at.bits}-bit values{score}")
    return f"energy {', '.join(parts)} ({estimate['kind']})"


def _score(report: Report, at: Beside) -> str:
    first = headline(report)
    return "" if first is None or at.score is None else f" ({first.label} {first.text(at.score)})"


def point_in_words(report: Report) -> str:
    """The step to run at; empty where none was asked for."""
    point, first = report.get("point"), headline(report)
    if point is None or first is None:
        return ""
    held, total = point["held_out"], report["timesteps"]
    where = f"{held['samples']} held-out samples of {held['source']} ({held['split']})"
    if point["step"] is None:
        most = bound_in_points(point["max_drop"])
        return f"no number of steps up to {total} loses at most {most} on {where}"
    step = point["step"]
    here, before = first.snn[step - 1], held["snn"][step - 1]
    lost = "" if here is None or first.ann is None else f", drop {points(first.ann - here)}"
    return (
        f"run it for {step} of {total} steps: {first.label} {first.text(here)}{lost}; "
        f"{energy_in_words(report, step)}; chosen on {where}, where it loses "
        f"{points(held['ann'] - before)} of the {bound_in_points(point['max_drop'])} allowed"
        f"{_upper_end(report, step)}"
    )


def _upper_end(report: Report, step: int) -> str:
    """How far the loss that was measured may reach: the choice is by the loss itself."""
    found = report.get("expected")
    if found is None:
        return ""
    return f" (as measured; up to {points(found['high'][step - 1])} at 95 %)"


def cheaper_in_words(report: Report) -> str:
    """At which step, if at any, the spiking network is cheaper than each of the others."""
    estimate = estimate_of(report)
    if estimate is None:
        return ""
    parts = []
    for baseline, name in NAMES.items():
        last = {
            one["name"]: one["cheaper"][baseline]
            for one in estimate["sets"]
            if baseline in one["cheaper"]
        }
        if last:
            parts.append(f"than {name} {_until(last)}")
    return f"Cheaper {'; '.join(parts)}."


def _until(last: Mapping[str, int]) -> str:
    if not any(last.values()):
        return "at no step"
    if len(set(last.values())) == 1:
        return f"up to step {next(iter(last.values()))}"
    return ", ".join(
        f"up to step {step} ({name})" if step else f"at no step ({name})"
        for name, step in last.items()
    )


def break_even(report: Report, baseline: str) -> list[str]:
    """Layer by layer the rate below which it would be cheaper, over the sets; "never" where not
    even silence is, a dash where nothing can be said."""
    estimate = estimate_of(report)
    if estimate is None:
        return []
    found = []
    for layer in estimate["layers"]:
        known = [rate for rate in layer["break_even"][baseline].values() if rate is not None]
        if not known:
            found.append("-")
        elif not any(known):
            found.append("never")
        else:
            found.append(span(min(known), max(known)))
    return found


def notes(report: Report) -> list[str]:
    """What has to be said of how the estimate was made."""
    estimate = estimate_of(report)
    if estimate is None:
        return []
    width = f"{estimate['weight_bits']} bits{', floats' if estimate['floats'] else ''}"
    found = [
        f"Priced with {sets_named(estimate)}, whose sources report.json holds; the spiking "
        f"network's weights have {width}."
    ]
    if estimate["floats"]:
        found.append(
            "Whole numbers are far cheaper than floats: --weight-bits 8 simulates and prices "
            "weights of 8 bits, with yan22 too."
        )
    quantised = estimate["quantised"]
    if quantised is not None and "failed" in quantised:
        found.append(f"Networks with few bits could not be made: {quantised['failed']}.")
    elif quantised is not None:
        samples = counted(quantised["calibration"]["samples"], "sample")
        found.append(
            f"Same levels: values of the bits given, which tell apart as much as the steps "
            f"do, calibrated on {samples} without training."
        )
    first = headline(report)
    if crossed := crossing_in_words(estimate, first.label if first else ""):
        found.append(crossed)
    if "lookups" in estimate["items"]:
        found.append(
            f"Functions and products are charged "
            f"{'once for each T' if by_layers(report) else 'at every step'}, an elementary "
            "function as a line between two entries of a table."
        )
    found.append(f"Left out of the estimate: {'; '.join(estimate['left_out'])}.")
    return found
