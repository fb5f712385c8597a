"""What a diagnosis means and what to try: rules that read nothing but the diagnosis itself.

Each rule gives findings {finding, reason, try}; `try` has options of `convsnn convert` as they are
typed, where that needs a word with a comment of the shell behind. The order is that of urgency:
where the source network is wrong, nothing behind it can be judged.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from convsnn.registry import split_spec
from convsnn.report.wording import counted, percent

Document = Mapping[str, Any]
Finding = dict[str, Any]

CHANCE = 0.2  # of the way from chance to all right; below it a trained network is fed wrong
FINE = 0.005  # half a point lost needs no mending,
CHANGED = 0.02  # unless more of the answers than this changed, some of them to the better
SATURATED = 0.2  # of the active neurons
BIASED = 0.1  # of the activations, all in one direction
BIG = 0.6  # a cause is named beside the largest where it has as much of its part
_PREPROCESSING = "--scale 255 --mean 0.5 --std 0.25  # with the numbers of the training"
SHOWN = 4  # names of layers, then how many more


def advise(document: Document, *, mismatches: Sequence[tuple[str, str]] = ()) -> list[Finding]:
    """The findings on a diagnosis, the most urgent first, at least one; no option comes twice.

    `mismatches` are what is known beside the numbers of neuron, thresholds and stages that do not
    suit each other, each with the option that does.
    """
    tried: set[str] = set()
    found = _findings(document, mismatches)
    for finding in found:
        finding["try"] = [o for o in finding["try"] if _typed(o) not in tried]
        tried.update(map(_typed, finding["try"]))
    return found


def _typed(option: str) -> str:
    """Without the comment."""
    return option.partition("#")[0].strip()


def _findings(document: Document, mismatches: Sequence[tuple[str, str]]) -> list[Finding]:
    faults = [finding for rule in _FAULTS for finding in rule(document)]
    for text, remedy in mismatches:
        title = "Neuron, thresholds and stages do not suit each other"
        faults.append(_finding(title, text, [remedy]))
    if faults:  # causes behind a fault are its consequences
        return faults
    found = [finding for rule in _CHOICES for finding in rule(document)]
    if _fine(document):
        return found or [_finding("Nothing is lost that needs mending", _praise(document), [])]
    found += [finding for rule in _CAUSES for finding in rule(document)]
    return found or [_finding("No layer makes an error", "the outputs differ all the same", [])]


def _finding(finding: str, reason: str, options: Sequence[str]) -> Finding:
    return {"finding": finding, "reason": reason, "try": list(options)}


def _names(layers: Sequence[str]) -> str:
    more = f" and {len(layers) - SHOWN} more" if len(layers) > SHOWN else ""
    return ", ".join(layers[:SHOWN]) + more


def _stages(document: Document) -> list[str]:
    return [split_spec(part)[0] for part in document["method"]["calibration"].split("+")]


def _fine(document: Document) -> bool:
    """Whether neither the score nor the answers changed by much."""
    ann, snn = document["ann"]["accuracy"], document["snn"]
    if ann is not None and ann - snn["accuracy"] > FINE:
        return False
    agreement = snn["agreement"]
    changed = document["output_error"] or 0.0 if agreement is None else 1 - agreement
    return bool(changed <= CHANGED)


def _praise(document: Document) -> str:
    steps, agreement = counted(document["timesteps"], "step"), document["snn"]["agreement"]
    if agreement is None:
        return f"after {steps} the outputs are within {percent(CHANGED)} of the ANN's"
    return f"after {steps} {percent(agreement)} of the answers are the ANN's"


def _wrong_input(document: Document) -> Iterator[Finding]:
    ann = document["ann"]
    if ann["accuracy"] is None or not ann["classes"]:
        return
    chance = 1 / ann["classes"]
    if ann["accuracy"] < chance + CHANCE * (1 - chance):
        yield _finding(
            f"The ANN itself is right on only {percent(ann['accuracy'])} of these images",
            f"guessing gives {percent(chance)}; unless it was trained no better, its input, its "
            "weights or the labels are wrong, and the rest cannot be judged before that is mended",
            [
                _PREPROCESSING,
                "--resize 256  # or whatever the training resized to",
                "--input-layout nhwc  # if the channels come in this order",
                "--weights FILE  # trained ones",
                "--data SPEC  # with labels that count as in training",
            ],
        )


def _dead_ann(document: Document) -> Iterator[Finding]:
    dead = [layer["name"] for layer in document["layers"] if layer["ann_dead"] == 1]
    if dead:
        first = dead[0] == document["layers"][0]["name"]
        why = "the first layer sees the images alone, so they are not scaled as in training"
        yield _finding(
            f"Silent in the ANN itself: {_names(dead)}",
            why if first else "no image activates any neuron there, before any conversion",
            [_PREPROCESSING],
        )


def _dead(document: Document) -> Iterator[Finding]:
    dead = [x["name"] for x in document["layers"] if x["dead"] == 1 > x["ann_dead"]]
    if dead:
        yield _finding(
            f"No neuron ever fires: {_names(dead)}",
            f"in {counted(document['timesteps'], 'step')} no potential reaches the threshold, so "
            "nothing gets through; the layer where it begins matters, those behind it follow",
            [*_longer(document, 4), *_lower(document)],
        )


def _saturated(document: Document) -> Iterator[Finding]:
    full = [layer["name"] for layer in document["layers"] if layer["above"] > SATURATED]
    if full:
        yield _finding(
            f"Saturated: {_names(full)}",
            f"more than {percent(SATURATED)} of the active neurons should send more than they can",
            _higher(document),
        )


def _reset(document: Document) -> Iterator[Finding]:
    method = document["method"]
    if split_spec(method["neuron"])[1].get("reset") == "zero":
        yield _finding(
            "Neurons are reset to zero",
            "what a potential has above the threshold is lost at every spike, however many steps",
            ["--neuron if"],
        )


def _choices(document: Document) -> Iterator[Finding]:
    if _fine(document):
        return
    method = document["method"]
    if method["encoder"].startswith("frames"):
        yield _finding(
            "The input changes from step to step",
            "what neurons sent under early frames counts, whatever later frames show",
            [
                *([] if method["neuron"].startswith("signed") else ["--neuron signed"]),
                "--encoder direct  # the mean frame at every step: it waits for all of them",
            ],
        )
    elif not method["encoder"].startswith("direct"):
        yield _finding(
            "The input comes as random spikes",
            "the first layers inherit the noise of the input, which fades as 1 / sqrt(steps) only",
            ["--encoder direct"],
        )
    if method.get("max_pool") == "current":
        yield _finding(
            "Max-pooling takes the largest current of each step",
            "the mean of the largest is more than the largest mean, at any number of steps",
            ["--max-pool exact"],
        )


def _main_causes(document: Document) -> Iterator[Finding]:
    causes = document["causes"] or {}
    top = max(causes.values(), default=0.0)
    for cause in sorted(causes, key=causes.__getitem__, reverse=True):
        if causes[cause] < BIG * top or not top:
            break
        layers = [layer for layer in document["layers"] if layer["rms"] is not None]
        worst = max(layers, key=lambda layer: layer["rms"][cause])
        title, reason, options = _OF_CAUSE[cause]
        yield _finding(
            f"{title}: {percent(causes[cause])} of the error that layers do not inherit",
            f"{reason}; most in {worst['name']} "
            f"({percent(worst['rms'][cause])} of its activations)",
            options(document),
        )


def _drift(document: Document) -> Iterator[Finding]:
    biased = [x for x in document["layers"] if abs(x["mean_error"] or 0.0) > BIASED]
    if biased:
        most = max(biased, key=lambda layer: abs(layer["mean_error"]))
        known = "bias" in _stages(document)
        size = percent(abs(most["mean_error"]))
        yield _finding(
            f"Too {'little' if most['mean_error'] < 0 else 'much'} is sent on average: "
            f"{_names([layer['name'] for layer in biased])}",
            f"by {size} of the activations in {most['name']}; an error in one direction adds up "
            "from layer to layer, and can be subtracted",
            [] if known else [f'--calibrate "{document["method"]["calibration"]}+bias"'],
        )


def _higher(document: Document) -> list[str]:
    """Options that let neurons send more."""
    steps = 2 * document["timesteps"]
    stage = _stages(document)[0]
    options = ["--calibrate max:potential=0.5"] if stage == "mse" else []
    options = options or [f"--calibrate mse:steps={steps}", "--calibrate percentile:q=99.99"]
    return [*options, *_graded(document, "several at once")]


def _lower(document: Document) -> list[str]:
    """Options that let neurons fire sooner."""
    if _stages(document)[0] != "mse":
        return ["--calibrate mse  # thresholds for few steps; starts neurons at half of them"]
    return [] if _corrected(document) else ["--calibrate mse+weights"]


def _longer(document: Document, times: int = 2) -> list[str]:
    """The option of more steps, of which a sequence has no more than it has frames."""
    if document["method"]["encoder"].startswith("frames"):
        return []
    return [f"--timesteps {times * document['timesteps']}"]


def _corrected(document: Document) -> bool:
    """Whether a stage has set neurons to start where their mean is right."""
    return bool({"potential", "weights"}.intersection(_stages(document)))


def _finer(document: Document) -> list[str]:
    options = [*_lower(document), *_longer(document)]
    return [*options, *_graded(document, "so levels need fewer steps")]


def _graded(document: Document, why: str) -> list[str]:
    """The option of graded spikes, unless it is in use."""
    if document["method"]["neuron"].startswith("burst"):
        return []
    return [f"--neuron burst  # graded spikes, {why}; not for ReLU6 or leaky layers"]


def _calmer(document: Document) -> list[str]:
    """Options against spikes at the wrong time."""
    stages, neuron = _stages(document), document["method"]["neuron"]
    options = []
    if neuron.startswith("msat") and "confidence" not in stages:
        options.append(f'--calibrate "{document["method"]["calibration"]}+confidence"')
    if not neuron.startswith("msat") and not _corrected(document):
        options.append("--calibrate mse+weights  # starts every neuron where its mean is right")
    options += _longer(document)
    if not neuron.startswith("signed"):
        options.append("--neuron signed  # takes back what was sent too early")
    return options


_OF_CAUSE: Mapping[str, tuple[str, str, Callable[[Document], list[str]]]] = {
    "clipping": ("Clipping", "activations lie above what a neuron can send", _higher),
    "quantisation": (
        "Quantisation",
        "with few steps and high thresholds the levels a neuron can send lie far apart",
        _finer,
    ),
    "sin": (
        "Spikes of neurons that the ANN keeps silent (SIN)",
        "excitation arrived before the inhibition that cancels it, and a spike once sent counts; "
        "it fades with more steps",
        _calmer,
    ),
    "uneven": (
        "Uneven spikes",
        "the input has the right mean, but comes in bursts and gaps that the neurons cannot follow",
        _calmer,
    ),
}

_FAULTS = (_wrong_input, _dead_ann, _dead, _saturated)
_CHOICES = (_reset, _choices)
_CAUSES = (_main_causes, _drift)
