"""Options that commands take together, as one value: every field of a group is an option.

A command that is `grouped` names a group as the type of a parameter; typer sees the group's fields
in its place, and the command gets them as one object.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints

from convsnn.commands import options
from convsnn.measure.energy import Constants
from convsnn.workflows.evaluate.pricing import chosen_sets
from convsnn.workflows.running.precision import Wanted
from convsnn.workflows.running.processes import Group
from convsnn.workflows.subject.opening import Opening
from zoo.data import Binning


@dataclass(frozen=True)
class Reading:
    """How values of the data become what a network takes."""

    scale: options.Scale = None
    mean: options.Mean = None
    std: options.Std = None
    resize: options.Resize = None
    input_layout: options.InputLayout = None

    def preprocessing(self) -> dict[str, Any]:
        """What the user gave, to stand in place of a model's own; ConfigError names the option."""
        return options.preprocessing(
            scale=self.scale,
            mean=self.mean,
            std=self.std,
            resize=self.resize,
            layout=self.input_layout,
        )


@dataclass(frozen=True)
class Frames:
    """How recordings of events become frames, for networks that are shown these."""

    frames_by: options.FramesBy = None
    frame_value: options.FrameValue = None

    def binning(self) -> Binning | None:
        """What the user gave; None for nothing."""
        return options.binning(self.frames_by, self.frame_value)


@dataclass(frozen=True)
class Network:
    """Where weights and input shape come from that a model does not have itself."""

    weights: options.Weights = None
    input_shape: options.InputShape = None
    answer: options.Answer = None


@dataclass(frozen=True)
class Computing:
    """What is simulated in."""

    precision: options.Precision = "float32"
    weight_bits: options.WeightBits = None
    compile: options.Compile = None

    def wanted(self) -> Wanted:
        """As the workflows take it."""
        return Wanted(self.precision, self.weight_bits, self.compile)


@dataclass(frozen=True)
class Running:
    """How images are drawn and where they are run."""

    batch_size: options.BatchSize = None
    seed: options.Seed = 0
    device: options.Device = "auto"


@dataclass(frozen=True)
class Scoring:
    """What is scored, and when it is good enough."""

    task: options.Task = None
    max_drop: options.MaxDrop = None
    early_exit: options.EarlyExit = None
    exit_data: options.ExitData = None
    examples: options.Examples = None


@dataclass(frozen=True)
class Energy:
    """What energy is estimated with, and the number of steps that is found by it."""

    energy: options.EnergySet = None
    mac_pj: options.MacPj = None
    ac_pj: options.AcPj = None
    best: options.Best = None

    def sets(self) -> tuple[Constants, ...] | None:
        """The sets of constants that were asked for; None for all that are known."""
        return chosen_sets(self.energy, self.mac_pj, self.ac_pj)


@dataclass(frozen=True)
class Again:
    """How a saved network is run again; what is not given is as when it was made."""

    samples: options.Samples = None
    batch_size: options.BatchSize = None
    seed: options.SavedSeed = None
    device: options.Device = "auto"


@dataclass(frozen=True)
class Neurons:
    """How activations become neurons."""

    calibrate: options.Calibrate = None
    method: options.Method = None
    neuron: options.Neuron = "if"
    encoder: options.Encoder = None
    max_pool: options.MaxPool = "exact"
    readout: options.Readout = "auto"
    readout_delay: options.ReadoutDelay = 0
    schedule: options.Schedule = None
    spikes: options.Spikes = "any"
    fit: options.Fit = None


def opening(
    model: str,
    data: str | None,
    *,
    network: Network,
    reading: Reading,
    running: Running,
    calibration_samples: int,
    verify: bool,
    computing: Computing | None = None,
    task: str | None = None,
    gate: float | None = None,
    group: Group | None = None,
    frames: Frames | None = None,
) -> Opening:
    """The model and its data as the workflows take them; a `group` of processes shares the work."""
    binning = (frames or Frames()).binning()
    return Opening(
        model,
        data=data,
        weights=network.weights,
        input_shape=options.shape(network.input_shape),
        preprocessing={**reading.preprocessing(), "binning": binning},
        calibration_samples=calibration_samples,
        batch_size=running.batch_size,
        seed=running.seed,
        device=running.device,
        wanted=(computing or Computing()).wanted(),
        verify=verify,
        answer=network.answer,
        task=task,
        gate=gate,
        group=group,
    )


def grouped(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """`command` with every group among its parameters replaced by the group's options."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters: list[Parameter] = []
    for name, parameter in signature(command).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name]))
            continue
        inner = get_type_hints(groups[name], include_extras=True)
        parameters += [
            Parameter(f.name, Parameter.KEYWORD_ONLY, default=f.default, annotation=inner[f.name])
            for f in fields(groups[name])
        ]

    def run(**given: Any) -> int | None:
        for name, kind in groups.items():
            given[name] = kind(**{f.name: given.pop(f.name) for f in fields(kind)})
        return command(**given)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return run
