"""The section `examples` of a report: a few samples looked at closely.

steps       of which the answers are given, as all series of the section
samples     each with its number in the data, what it is an example of (`kind`), label and
            answers (null for what has none), `answers` over the steps, some `outputs` over the
            steps beside the original's, `activity`: spikes per neuron and step of each layer
            in the order of `layers`, pictures as data URIs (null for what is no image) and
            `maps`: where layers sent their spikes
watched     neurons of the sample at the place `sample`, in the first `steps` steps
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from convsnn.report.document import Report
from convsnn.report.evidence import KINDS
from convsnn.report.page.classes import class_name
from convsnn.report.wording import counted, significant


def rounded(values: Sequence[float]) -> list[float]:
    """Enough digits for a chart."""
    return [float(f"{value:.5g}") for value in values]


def output_name(report: Report, number: int) -> str:
    """What an output stands for: a class by its name, or its number."""
    classes = report.get("classes")
    if classes is not None:
        return class_name(classes, number)
    return f"output {number}" if report.get("task") != "classify" else str(number)


def told(report: Report) -> Iterator[Mapping[str, Any]]:
    """Every sample with what is said of it in words: `title`, `words`, `number`."""
    section = report.get("examples")
    for number, sample in enumerate(section["samples"] if section else ()):
        yield {
            **sample,
            "number": number,
            "title": f"Sample {sample['sample']}: {KINDS[sample['kind']]}",
            "words": _answer_in_words(report, sample),
        }


def _answer_in_words(report: Report, sample: Mapping[str, Any]) -> str:
    if sample["snn"] is None or sample["ann"] is None:
        return "; ".join(_values(report, sample))
    label, ann, snn = (
        None if sample[key] is None else output_name(report, sample[key])
        for key in ("label", "ann", "snn")
    )
    parts = [] if label is None else [f"label {label}"]
    parts += [f"ANN {ann}", f"SNN {snn}"]
    return f"{', '.join(parts)}{_settled(report, sample)}"


def _values(report: Report, sample: Mapping[str, Any]) -> Iterator[str]:
    """The outputs themselves, where they are the answer."""
    for one in sample["outputs"] if report.get("task") == "regress" else ():
        target = one.get("target")
        beside = "" if target is None else f"target {significant(target)}, "
        yield (
            f"{output_name(report, one['output'])}: {beside}ANN {significant(one['ann'])}, "
            f"SNN {significant(one['snn'][-1])}"
        )


def convinced(report: Report) -> str:
    """What makes the answer, in words."""
    task = report.get("task")
    if task == "classify":
        return (
            "What convinces the network is what its output neurons have summed up: the largest "
            "sum is the answer."
        )
    if task == "segment":
        return "At each place the output neurons sum up; the largest sum there is the answer."
    if task == "detect":
        return (
            "The output neurons sum up boxes, how sure each is and of what class. Drawn are those "
            "of a score of 40 % or more, a colour for each class, on all events of the sample."
        )
    return "What the output neurons have summed up is the answer."


def _settled(report: Report, sample: Mapping[str, Any]) -> str:
    """From which step on the answer stayed what it is in the end."""
    steps, answers = report["examples"]["steps"], sample["answers"]
    if not answers:
        return ""
    last = len(answers) - 1
    while last > 0 and answers[last - 1] == answers[-1]:
        last -= 1
    return f", settled after {counted(steps[last], 'step')}"


def watched_in_words(report: Report) -> str:
    """Which neurons are shown, and how they were chosen."""
    section = report["examples"]
    watched = section["watched"]
    total = report["timesteps"]
    drawn = watched["layers"][0]["drawn"] if watched["layers"] else 0
    sample = section["samples"][watched["sample"]]["sample"]
    span = (
        f"all {counted(total, 'step')}"
        if watched["steps"] == total
        else f"the first {watched['steps']} of {total} steps"
    )
    return (
        f"Sample {sample}, {span}. Of up to {drawn} neurons drawn at random in a layer (seed "
        f"{report['seed']}) those that fired come first, then silent ones."
    )
