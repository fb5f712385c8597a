"""`convsnn.convert`: a trained network and training images in, a spiking network out."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn

from calibrate.defaults import default_stages
from calibrate.fits import as_if_fitted, parse_fits
from calibrate.methods import choose_methods
from convsnn.encoders import ENCODERS
from convsnn.errors import ConfigError
from convsnn.graph import Graph
from convsnn.measure.energy import Constants
from convsnn.readouts import READOUTS, delayed
from convsnn.spiking.kinds import require_spikes
from convsnn.spiking.network import Spiking
from convsnn.spiking.plan import Stage
from convsnn.spiking.population import site_neurons
from convsnn.workflows.evaluate.best import plan_best
from convsnn.workflows.evaluate.early_exit import plan_exits
from convsnn.workflows.evaluate.expected import plan_expected
from convsnn.workflows.evaluate.pricing import Pricing
from convsnn.workflows.evaluate.scores import Scores
from convsnn.workflows.running.precision import Asked, Wanted
from convsnn.workflows.running.voice import note, reported
from convsnn.workflows.snn import SNN
from convsnn.workflows.subject.given import Images
from convsnn.workflows.subject.job import Job
from convsnn.workflows.subject.method import Method
from convsnn.workflows.subject.opening import Opening

FLOATS = ("float32", "bfloat16")  # precisions that do not round weights to a grid


def convert(
    model: nn.Module | Graph | str | Path,
    images: Images | str | None = None,
    timesteps: int = 32,
    *,
    data: Images | str | None = None,
    calibrate: str | Sequence[Stage] | None = None,
    method: str | None = None,
    neuron: str = "if",
    encoder: str | None = None,
    max_pool: Literal["exact", "current"] = "exact",
    readout: str = "auto",
    readout_delay: int = 0,
    schedule: str | None = None,
    spikes: str = "any",
    fit: str | Sequence[str] | None = None,
    weights: str | Path | None = None,
    input_shape: Sequence[int] | None = None,
    answer: str | None = None,
    task: str | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    calibration_samples: int = 1000,
    batch_size: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: Asked = "float32",
    weight_bits: int | None = None,
    compile: bool | None = None,
    verify: bool = True,
) -> SNN:
    """Turn a trained network into a spiking one that runs for `timesteps`.

    `model` is a torch module, an ONNX file, `package.module:factory`, `torchvision:NAME`,
    `timm:NAME` or `zoo:NAME`. `images` are training images as the network takes them: a tensor or
    array (N, ...), a pair (images, labels), a DataLoader, any iterable of batches that can be read
    again; or a text that names a data set as `--data` does, with its `preprocessing` (scale, mean,
    std, resize, layout); None takes the data that the model names. `data` is another name of it,
    the one that other verbs have. All else is as in
    `convsnn convert`; `calibrate` may be stages instead of their text, `method` one of
    `convsnn list methods`; of several outputs `answer` names the one to take, `task` says what it
    is for.

    Raises ConfigError, LoadError, UnsupportedError (what would stay analog, all of it),
    RewriteError and CalibrationError.
    """
    if data is not None and images is not None:
        raise ConfigError("images and data are two names of one thing", hint="give one of them")
    how = chosen_method(
        timesteps,
        calibrate=calibrate,
        method=method,
        neuron=neuron,
        encoder=encoder,
        max_pool=max_pool,
        readout=readout,
        readout_delay=readout_delay,
        schedule=schedule,
        spikes=spikes,
        fit=fit,
    )
    opening = Opening(
        model,
        data=images if data is None else data,
        weights=weights,
        input_shape=input_shape,
        preprocessing=preprocessing or {},
        calibration_samples=calibration_samples,
        batch_size=batch_size,
        seed=seed,
        device=device,
        wanted=Wanted(precision, weight_bits, compile),
        verify=verify,
        answer=answer,
        task=task,
    )
    return SNN(
        converted(opening.open(frames=how.frames or timesteps, still=how.still), how, timesteps)
    )


def converted(job: Job, how: Method, timesteps: int, *, samples: int | None = None) -> Spiking:
    """The spiking network of an open job; `samples` is how many test images will be scored."""
    job, how = job.shown(how, timesteps)
    require_spikes(as_if_fitted(job.graph, how.fit), how.spikes, neuron=how.neuron)
    site_neurons(how.neuron, job.graph)  # layers that it cannot stand for, all at once
    note(f"calibrating on {len(job.images.indices)} training images: {how.calibrate}")
    return job.convert(how, steps=timesteps, samples=samples)


def convert_and_score(
    opening: Opening,
    how: Method,
    timesteps: int,
    *,
    samples: int | None = None,
    early_exit: float | None = None,
    exit_data: str | None = None,
    sets: tuple[Constants, ...] | None = None,
    best: str | None = None,
    max_drop: float | None = None,
    examples: int | None = None,
) -> Scores:
    """Convert, and score every step on `samples` test images (None: all), as the command does.

    `early_exit` is a percentage: see `convsnn.workflows.evaluate.early_exit`. `sets` of constants
    price the energy (None: all that are known); with `best` "energy" the number of steps to run at
    is chosen under the bound `max_drop`: see `convsnn.workflows.evaluate.best`. `examples` is how
    many images the report looks at closely (None: a few). Whatever can be refused is refused before
    any calibration.
    """
    job = opening.open(frames=how.frames or timesteps, still=how.still)
    job, how = job.shown(how, timesteps)
    early = plan_exits(
        early_exit,
        exit_data,
        graph=job.graph,
        steps=timesteps,
        data=job.data,
        preprocessing=job.preprocessing,
        calibration=lambda: job.images,
        task=opening.task,
        schedule=how.schedule,
    )
    pricing = Pricing(sets, lambda: job.images)
    wanted = opening.wanted
    pricing.require(floats=wanted.weight_bits is None and wanted.precision in FLOATS)
    choosing = plan_best(
        best,
        max_drop,
        graph=job.graph,
        data=job.data,
        calibration=lambda: job.images,
        seed=job.seed,
        pricing=pricing,
        task=opening.task,
    )
    first = choosing or plan_expected(job.data, lambda: job.images, seed=job.seed, bound=max_drop)
    net = converted(job, how, timesteps, samples=samples)
    report = job.score(
        net,
        steps=timesteps,
        samples=samples,
        before=first,
        also=early,
        pricing=pricing,
        examples=examples,
    )
    reported(report["warnings"])
    return Scores(report, net)


def chosen_method(
    timesteps: int,
    *,
    calibrate: str | Sequence[Stage] | None = None,
    method: str | None = None,
    neuron: str = "if",
    encoder: str | None = None,
    max_pool: Literal["exact", "current"] = "exact",
    readout: str = "auto",
    readout_delay: int = 0,
    schedule: str | None = None,
    spikes: str = "any",
    fit: str | Sequence[str] | None = None,
) -> Method:
    """How to convert for `timesteps`, from what was given; ConfigError where it does not fit."""
    if timesteps < 1:
        raise ConfigError(f"timesteps must be at least 1, not {timesteps}")
    if method is not None:
        others = {
            "calibrate": calibrate is not None,
            "neuron": neuron != "if",
            "encoder": encoder not in (None, choose_methods(method)[0].encoder),
            "readout": readout != "auto",
        }
        taken = [name for name, given in others.items() if given]
        if taken:
            raise ConfigError(
                f"method '{method}' says itself what {', '.join(taken)} is",
                hint="give either a method or its parts",
            )
        chosen = choose_methods(method)
        if len(chosen) != 1:
            raise ConfigError(f"'{method}' is not one method", hint="see convsnn list methods")
        (named,) = chosen
        calibrate, neuron = named.stages(timesteps), named.neuron
        encoder = encoder or (None if named.encoder == "direct" else named.encoder)
        readout = named.reading(timesteps)
        schedule = schedule or named.schedule
    given = {"calibrate": calibrate, "encoder": encoder, "schedule": schedule}
    left = frozenset(name for name, value in given.items() if value is None)
    schedule = schedule or "steps"
    if calibrate is None:
        calibrate = default_stages(neuron, schedule)
    stages = None if isinstance(calibrate, str) else tuple(calibrate)
    text = calibrate if isinstance(calibrate, str) else _described(calibrate)
    found = Method(
        text,
        neuron,
        ENCODERS.with_default(encoder or "direct", "steps", timesteps),
        max_pool,
        delayed(readout, readout_delay),
        stages,
        schedule,
        spikes,
        left,
        parse_fits(fit),
    )
    late = READOUTS.create(found.readout).delay
    if late >= timesteps:
        raise ConfigError(
            f"a readout delay of {late} leaves nothing of {timesteps} time steps",
            hint="use fewer than --timesteps",
        )
    return found


def _described(stages: Iterable[Stage]) -> str:
    """Stages given as objects, as a report names them."""
    return " + ".join(str(stage) for stage in stages) or "none"
