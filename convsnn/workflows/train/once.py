"""What `convsnn train` does with one seed: build the network, train it, score it once."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from convsnn.errors import CalibrationError, UnsupportedError
from convsnn.measure.fitting import USUAL_BATCH
from convsnn.registry import split_spec
from convsnn.report.page.assemble import versions
from convsnn.spiking.network import Spiking
from convsnn.train import LOSSES
from convsnn.train.direct import Judged, Untrained, groups, scores, settle
from convsnn.train.finetune import require_classes
from convsnn.train.loop import BEST, LAST, train
from convsnn.train.methods import learned_thresholds
from convsnn.train.settings import Epoch, State
from convsnn.train.settled import Trail
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.running.voice import command_line
from convsnn.workflows.subject.images import describe_part
from convsnn.workflows.train import detecting
from convsnn.workflows.train.course import Course, untrained
from convsnn.workflows.train.lessons import worth_compiling
from convsnn.workflows.train.spikes import observe, steps_first
from zoo.data import choose, class_names, data_place
from zoo.recipes.spiking import SpikingRecipe

NOT_AN_ANN = (
    "the ANN of this report is the network's plain form with the weights that were trained as a "
    "spiking network, and was never trained as an ANN: neither its accuracy nor the agreement "
    "with it says anything of the training"
)

GRADED = (
    "neurons of the fully connected layers send their potentials, graded values, which are charged "
    "as multiply-accumulates; their firing rate counts every value but 0, so it and their SIN say "
    "nothing of spikes"
)


@dataclass(frozen=True)
class Run:
    """A network trained from one seed, and how.

    `accuracy`, of boxes the mean average precision, is that on the test images up to each step;
    None where those that were scored hold no box.
    `net` and `report` are there where a simulation has the network's neurons; else `reason` says
    why not. `observed` is what else is known of the trained network: see `spikes`.
    """

    seed: int
    state: State
    accuracy: list[float | None]
    thresholds: int
    parameters: int
    net: Spiking | None
    report: dict[str, Any] | None
    reason: str
    checkpoint: Path
    observed: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The run as training.json has it."""
        return {
            "seed": self.seed,
            "accuracy": self.accuracy,
            "seconds": round(self.state.seconds, 3),
            "updates": self.state.done,
            "parameters": self.parameters,
            "thresholds": self.thresholds,
            "artifact": self.net is not None,
            "reason": self.reason,
            **self.observed,
            "epochs": self.state.history,
        }


def train_once(
    course: Course,
    *,
    seed: int,
    folder: Path,
    device: torch.device,
    samples: int | None = None,
    progress: Callable[[Epoch], None] | None = None,
    compile: bool | None = None,
) -> Run:
    """Train from `seed` with checkpoints in `folder`, then score on `samples` test images.

    `compile` None leaves it to the length of the training.

    Raises what `loop.train` raises.
    """
    recipe = replace(course.recipe, seed=seed)
    made = untrained(course, seed=seed)
    if course.task is None:
        require_classes(made.graph)
    else:
        detecting.require_head(made.graph, course.task, course.entry)
    trail = Trail(made.network, folder, recipe.epochs)

    def ended(epoch: Epoch) -> None:
        trail.keep(epoch.number)
        if progress is not None:
            progress(epoch)

    state = train(
        made.network,
        course.images,
        Judged(LOSSES.create(recipe.loss)),
        recipe.settings(),
        folder=folder,
        groups=groups(made.network, threshold_rate=recipe.threshold_rate),
        after=lambda: settle(made.network, limit=recipe.weight_limit),
        device=device,
        progress=ended,
        purpose=recipe.to_json(),
        compile=worth_compiling(made.graph, len(course.images), recipe.settings(), wanted=compile),
    )
    apart = trail.distances()
    for entry in state.history:
        entry["settled"] = apart.get(entry["number"], {})
    best = recipe.patience is not None and state.best_epoch != state.epoch
    return _scored(course, recipe, made, state, folder / (BEST if best else LAST), device, samples)


def _scored(
    course: Course,
    recipe: SpikingRecipe,
    made: Untrained,
    state: State,
    checkpoint: Path,
    device: torch.device,
    samples: int | None,
) -> Run:
    """The run with its only look at the test images."""
    thresholds = learned_thresholds(made.network)
    learned = sum(p.numel() for p in made.network.parameters())
    known = (thresholds, learned - thresholds)
    seen = observe(
        made.network,
        course.data.test,
        steps=recipe.timesteps,
        device=device,
        samples=samples,
        seed=recipe.seed,
    )
    try:
        net = _artifact(course, recipe, made, state, known, samples)
    except (UnsupportedError, CalibrationError) as error:
        reason = f"{error}" + (f" ({error.hint})" if error.hint else "")
        part = course.data.test
        numbers = choose(part, samples, seed=recipe.seed)
        found = scores(
            made.network,
            steps_first(part, numbers),
            steps=recipe.timesteps,
            task=detecting.spec_of(course.task),
            device=device,
        )
        return Run(recipe.seed, state, found, *known, None, None, reason, checkpoint, seen)
    report = scoring.score(
        net,
        course.data,
        steps=recipe.timesteps,
        samples=samples,
        seed=recipe.seed,
        batch_size=USUAL_BATCH,
        device=device,
        examples=0 if course.task is None else detecting.SHOWN,
    )
    said = [NOT_AN_ANN]
    said += [GRADED] if any(neurons.graded for neurons in net.neurons.values()) else []
    report["warnings"] = [*report["warnings"], *said]
    if course.task is not None:
        seen = {**seen, "examples": detecting.drawn(report)}
    found = detecting.headline(report)
    return Run(recipe.seed, state, found, *known, net, report, "", checkpoint, seen)


def _artifact(
    course: Course,
    recipe: SpikingRecipe,
    made: Untrained,
    state: State,
    known: tuple[int, int],
    samples: int | None,
) -> Spiking:
    """The trained network as `evaluate` reads it; see `Untrained.to_spiking` for what it raises."""
    steps = course.data.train.steps
    net = made.to_spiking(encoder="direct" if steps is None else f"frames:steps={steps}")
    training = {
        **_method(course, recipe),
        "epochs": state.epoch,
        "updates": state.done,
        "seconds": round(state.seconds, 3),
    }
    thresholds, parameters = known
    return replace(
        net,
        plan=replace(net.plan, record=({"stage": "train", **training},)),
        provenance={
            "command": command_line(),
            "model": {
                "name": course.entry.name,
                "source": f"zoo:{course.entry.name}",
                "sha256": _digest(net.graph.tensors),
                "parameters": parameters,
                "thresholds": thresholds,
                "input_shape": list(course.entry.input_shape),
            },
            "data": course.spec,
            **data_place(course.spec),
            "preprocessing": course.preprocessing.to_json(),
            "labels": class_names(course.data.train),
            "versions": versions(),
            "calibration": describe_part(course.data.train, len(course.images)),
            "method": {
                "calibration": f"trained from the start by {course.name}",
                "neuron": net.neuron,
                "encoder": net.encoder.spec(),
                "max_pool": "exact",
                "readout": net.readout,
                "training": training,
            },
            "seed": recipe.seed,
            "timesteps": recipe.timesteps,
            "batch_size": USUAL_BATCH,
            "samples": samples,
            **({} if course.task is None else {"task": detecting.spec_of(course.task)}),
        },
    )


def _method(course: Course, recipe: SpikingRecipe) -> dict[str, Any]:
    rule, _ = split_spec(recipe.threshold)
    return {"method": rule, "recipe": course.name, **asdict(recipe)}


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(
            tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()
