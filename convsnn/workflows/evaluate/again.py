"""Scoring a network on the data it was made for, or on other data: as it was scored before."""

from collections.abc import Mapping
from typing import Any

from convsnn.errors import ConfigError
from convsnn.measure.energy import Constants
from convsnn.measure.fitting import fitting_batch
from convsnn.spiking.network import Spiking, scheduled
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.evaluate.best import plan_best
from convsnn.workflows.evaluate.early_exit import plan_exits
from convsnn.workflows.evaluate.pricing import Pricing
from convsnn.workflows.evaluate.scores import Scores
from convsnn.workflows.running.device import pick_device
from convsnn.workflows.running.launched import beside
from convsnn.workflows.running.precision import Asked, as_before
from convsnn.workflows.running.processes import Group
from convsnn.workflows.running.voice import reported
from convsnn.workflows.subject.class_names import stored_names
from convsnn.workflows.subject.given import Images
from convsnn.workflows.subject.images import Chosen
from convsnn.workflows.subject.saved import Saved, data_of


def evaluate_saved(
    net: Spiking,
    test: Images | str | None = None,
    *,
    timesteps: int | None = None,
    samples: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    device: str = "auto",
    precision: Asked | None = None,
    weight_bits: int | None = None,
    compile: bool | None = None,
    early_exit: float | None = None,
    exit_data: str | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    gate: float | None = None,
    place: str = "",
    group: Group | None = None,
    task: str | None = None,
    schedule: str | None = None,
    sets: tuple[Constants, ...] | None = None,
    best: str | None = None,
    examples: int | None = None,
) -> Scores:
    """Score `net` at every time step on `test`: images as the network takes them, with labels
    where there are any, a text that names a data set, or None for the data that it was made for.

    What is None is as when the network was made; `schedule` is "steps" or "layers". `early_exit` is
    a percentage, `gate` the bound on the loss of its score, `task` what the network is for, `place`
    where it came from, for messages, and a `group` of processes shares the images. `sets` of
    constants price its energy (None: all that are known), `best` is "energy" for the number of
    steps to run at (see `convsnn.workflows.evaluate.best`), `examples` how many images the report
    looks at closely (None: a few). Raises
    ConfigError, LoadError and SimulationError.
    """
    net = scheduled(net, schedule)
    origin = net.provenance
    steps = origin["timesteps"] if timesteps is None else timesteps
    if steps < 1:
        raise ConfigError(f"timesteps must be at least 1, not {steps}")
    scoring.require_answer(net, steps)
    target = pick_device(device)
    data, settings = data_of(net, test, preprocessing or {}, place=place)
    task = task or origin.get("task")
    scoring.require_scores(gate, data, net.graph, task=task, names=stored_names(origin))
    if early_exit is not None and exit_data is None and data.train is data.test:
        raise ConfigError(
            "the margins of early exit would be fitted on the images that are scored",
            hint="name other images with --exit-data, or leave --early-exit out",
        )
    saved = Saved(net, origin, data, settings.to_json())
    if batch_size is None:
        batch_size = fitting_batch(
            net.graph, target, most=origin["batch_size"], processes=beside(target.type)
        )
    fitting = batch_size  # a number by now

    def used() -> Chosen:
        return saved.calibration_images(fitting, target)

    early = plan_exits(
        early_exit,
        exit_data,
        graph=net.graph,
        steps=steps,
        data=data,
        preprocessing=saved.preprocessing,
        calibration=used,
        task=task,
        schedule=net.schedule,
    )
    seed = origin["seed"] if seed is None else seed
    own = data.train is not data.test and origin["calibration"]["samples"] > 0
    pricing = Pricing(sets, used if own else None)
    choosing = plan_best(
        best,
        gate,
        graph=net.graph,
        data=data,
        calibration=used,
        seed=origin["seed"],
        pricing=pricing,
        task=task,
    )
    given = test is not None and not isinstance(test, str)
    report = scoring.score(
        net,
        data,
        steps=steps,
        samples=samples if samples is not None or given else origin.get("samples"),
        seed=seed,
        batch_size=batch_size,
        device=target,
        before=choosing,
        also=early,
        pricing=pricing,
        wanted=as_before(origin, precision=precision, weight_bits=weight_bits, compile=compile),
        group=group,
        task=task,
        examples=examples,
    )
    reported(report["warnings"])
    return Scores(report, net)
