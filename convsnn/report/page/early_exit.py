"""The section `early_exit` of a report: what was promised, what was reached, what it saved."""

from collections.abc import Mapping
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from convsnn.measure import Evaluation, energy
from convsnn.measure.early_exit import Exits
from convsnn.measure.margins import CONFIDENCE, Margins
from convsnn.report.document import Report
from convsnn.report.wording import counted, percent, significant
from convsnn.spiking.network import Spiking


def early_exit_section(
    net: Spiking,
    evaluation: Evaluation,
    margins: Margins,
    exits: Exits,
    *,
    fitted_on: Mapping[str, Any],
) -> dict[str, Any]:
    """What stands under `early_exit`: fractions 0..1, energies as ratios to the ANN.

    `evaluation` is the run of all steps on the images of `exits`; `fitted_on` names the images
    that the margins come from. `exits` lists the share of images that leave at each step, and
    `margins` is null where none may leave.
    """
    steps, joules = evaluation.activity.steps, energy.ann_joules(net.graph)
    left = torch.bincount(exits.steps, minlength=steps + 1)[1:]
    ratio = 1 / joules if joules else 0.0
    return {
        "promised": margins.promised,
        "reached": _agreement(exits.answers, evaluation.predictions),
        "confidence": CONFIDENCE,
        "mean_steps": float(exits.steps.double().mean()),
        "accuracy": exits.accuracy,
        "accuracy_full": None if evaluation.accuracy is None else float(evaluation.accuracy[-1]),
        "energy": {"counted": exits.counted * ratio, "cached": exits.cached * ratio},
        "seconds": exits.seconds,
        "exits": (left / len(exits.steps)).tolist(),
        "margins": [needed if needed < float("inf") else None for needed in margins.needed],
        "fit": {
            **fitted_on,
            "changed": margins.changed,
            "bound": margins.bound,
            "mean_steps": margins.mean_steps,
        },
    }


def _agreement(answers: Tensor, full: Tensor | None) -> float:
    assert full is not None  # classifiers have predictions
    return float((answers == full[-1]).double().mean())


def early_exit_text(report: Report) -> str:
    """The section in two or three sentences; empty where there is none."""
    section = report.get("early_exit")
    if section is None:
        return ""
    steps, fit = report["timesteps"], section["fit"]
    accuracy = ""
    if section["accuracy"] is not None:
        accuracy = (
            f"accuracy {percent(section['accuracy'])} "
            f"(all steps {percent(section['accuracy_full'])}), "
        )
    full = significant(report["energy"]["counted"][-1])
    kept = fit["samples"] - fit["changed"]
    images = counted(fit["samples"], "unseen sample")
    if not fit["unseen"]:
        images = f"{fit['samples']} sums of two samples"
    return (
        f"Early exit: promised that {percent(section['promised'])} of the answers are those of "
        f"all {counted(steps, 'step')}, reached {percent(section['reached'])}"
        f"{_short(section, report)}. {section['mean_steps']:.1f} steps on average, {accuracy}"
        f"energy {significant(section['energy']['counted'])} times the ANN's, counted "
        f"(all steps {full}). Margins fitted on {images} of {fit['source']} ({fit['split']}), of "
        f"which {kept} kept their answer."
    )


def _short(section: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """What a promise that was not kept has to say for itself, as far as so few images tell."""
    samples, promised = report["data"]["evaluation"]["samples"], section["promised"]
    missed = promised - section["reached"]
    if missed <= 0:
        return ""
    if missed > 2 * sqrt(promised * (1 - promised) / samples):
        return " (the promise was broken)"
    return f" (of {counted(samples, 'sample')}: within chance of what was promised)"
