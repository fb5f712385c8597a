"""What a report comes down to: the time steps worth a row, and when the network was good enough."""

from dataclasses import dataclass
from typing import Any

from convsnn.report.document import Report
from convsnn.report.page.metrics import headline
from convsnn.report.wording import bound_in_points, percent

SETTLED = 0.005  # within half a point of the best step counts as being there


@dataclass(frozen=True)
class Row:
    """The network read out after `step` time steps; fractions 0..1, energies as ratio to the ANN.

    `score` is the headline (accuracy, F1, mIoU, R2), `drop` the ANN's minus this one; both are None
    where nothing is scored.
    """

    step: int
    score: float | None
    drop: float | None
    agreement: float
    paper: float
    counted: float
    cached: float


def shown_steps(total: int) -> list[int]:
    """1, 2, 4, ... below `total`, and `total`; in both schedules they are scored."""
    return [1 << power for power in range((total - 1).bit_length())] + [total]


def row(report: Report, step: int) -> Row:
    """The numbers at one time step, counted from 1."""
    first = headline(report)
    here = None if first is None else first.snn[step - 1]
    ann = None if first is None else first.ann
    energy = report["energy"]
    return Row(
        step,
        here,
        None if here is None or ann is None else ann - here,
        report["snn"]["agreement"][step - 1],
        energy["paper"][step - 1],
        energy["counted"][step - 1],
        energy["cached"][step - 1],
    )


def rows(report: Report) -> list[Row]:
    """One row for each of `shown_steps`."""
    return [row(report, step) for step in shown_steps(report["timesteps"])]


def settled_step(report: Report) -> int:
    """The first step within SETTLED of the best score, or agreement where there is none.

    It is found on the very samples that were scored, so it is a hint for the next run, no result.
    """
    first = headline(report)
    quality = report["snn"]["agreement"] if first is None else first.snn
    known = [value for value in quality if value is not None]
    floor = max(known, default=0.0) - SETTLED
    reached = (s for s, value in enumerate(quality, 1) if value is not None and value >= floor)
    return next(reached, report["timesteps"])


def steps_below_ann(report: Report, form: str) -> int:
    """Up to which step the energy ratio of `form` stays at or under 1."""
    last = 0
    for step, ratio in enumerate(report["energy"][form], start=1):
        if ratio is not None:
            if ratio > 1:
                break
            last = step
    return last


def dead_fraction(layer: Report) -> float:
    """Share of neurons that never fired up to the last step."""
    dead: Any = layer["dead_fraction"]
    return dead[-1] if isinstance(dead, list | tuple) else dead


def fits_in_words(report: Report) -> str:
    """Which functions neurons stand for, and how far off; empty where none was fitted."""
    fits = report.get("fitted")
    if not fits:
        return ""
    said = [
        f"{fit['name']} ({fit['function']}, {fit['neurons']} neurons a value, error "
        f"{percent(fit['error'])})"
        for fit in fits
    ]
    return (
        f"Sums of neurons stand for functions (--fit): {', '.join(said)}. The error is the root of "
        "the mean square, relative, on calibration images that were not fitted, before any spike."
    )


def by_layers(report: Report) -> bool:
    """Whether layers fire one after another, so that every T is a network of its own."""
    return bool(report.get("schedule", {}).get("name") == "layers")


def latency_in_words(report: Report) -> str:
    """How long an answer takes, and what thresholds were made for; empty for `steps`."""
    if not by_layers(report):
        return ""
    known, steps = report["schedule"], report["timesteps"]
    text = (
        f"layer by layer: first answer after {known['first_answer']} steps, then one every "
        f"{known['steps_per_answer']}"
    )
    made = known["calibrated_for"]
    if made is None:
        return text
    other = "" if made == steps else f", run at T = {steps}"
    return f"{text}; calibrated for T = {made}{other}"


def expected_in_words(report: Report) -> str:
    """What training images that were held out told before scoring; empty where none were."""
    found, total = report.get("expected"), report["timesteps"]
    if found is None:
        return ""
    drop, low, high = (100 * found[key][-1] for key in ("drop", "low", "high"))
    begin, bound = found["from"], bound_in_points(found["bound"])
    trust = f"its upper end at most {bound} from step {begin} on"
    if begin is None:
        trust = f"more than {bound} may still be lost after {total} steps"
    return (
        f"expected on {found['samples']} held-out samples of {found['source']} "
        f"({found['split']}), before scoring: drop {drop:.1f} points ({low:.1f} to {high:.1f}, "
        f"95 %), {trust}"
    )
