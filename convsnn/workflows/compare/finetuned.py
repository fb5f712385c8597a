"""Rows of a comparison that are fine-tuned: all from one conversion, on the same training images.

That conversion is the method `mse` of `convsnn list methods`, made for the steps that are trained
for: thresholds that suit so few steps, and weights as the original has them, which its answers
then teach. It is kept as start.safetensors beside the checkpoints, so that a training that was
interrupted goes on from the very same network.
"""

import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from calibrate.methods import choose_methods
from calibrate.named import kind_in_words
from convsnn.errors import ConfigError
from convsnn.export import load_artifact, save_artifact
from convsnn.report.wording import counted
from convsnn.spiking.network import Spiking
from convsnn.train.distillation import Tuning
from convsnn.train.finetune import finetune
from convsnn.train.methods import find_method
from convsnn.train.samples import Augmentation, Samples
from convsnn.train.settings import Settings
from convsnn.workflows.compare.rows import Conditions, Made
from convsnn.workflows.running.resume import fingerprint, make_folder
from convsnn.workflows.subject.method import Method
from convsnn.workflows.train.lessons import labelled_images, show_epoch, worth_compiling

START = "mse"
STEPS, EPOCHS = 4, 20  # where the user names none
_START_OWN = "the paper trains from the start"
_WORDS = {  # title, source, note, what is otherwise in the paper
    "lt-snn": ("LT-SNN", "LT-SNN, equations 9 to 11", "a threshold a channel learns", _START_OWN),
    "ltmd": ("LTMD", "LTMD, equations 6 to 8", "a threshold tanh(k) a channel learns", _START_OWN),
    "dsr": ("DSR", "Meng et al. 2022", "thresholds and weights learn from means", _START_OWN),
    "hybrid": (
        "Hybrid",
        "Rathi et al. 2020",
        "weights learn, thresholds stay as converted",
        "the paper's conversion is another, and its neurons leak",
    ),
    "fixed": ("Fixed", "baseline", "weights learn, thresholds stay as converted", ""),
}


def choose_finetuning(text: str) -> list[str]:
    """`all`, or names joined by commas, in the order of the rows; ConfigError for others."""
    names = [part.strip() for part in text.split(",")]
    if names == ["all"]:
        return list(_WORDS)
    for name in names:
        find_method(name)
    return [name for name in _WORDS if name in names]


@dataclass
class Course:
    """What all fine-tuned rows share; `samples` are how many training images (None: all), changed
    by `augment`."""

    settings: Settings
    samples: int | None = None
    augment: Augmentation = "none"
    _images: Samples | None = field(default=None, init=False, repr=False)

    def folder(self, under: Conditions) -> Path:
        """Where the start and the checkpoints are: another place for other settings."""
        return under.folder / f"training-{fingerprint(under.settings, *self.identity())[:12]}"

    def identity(self) -> tuple[object, ...]:
        """Plain values that the result depends on."""
        known = "finetune", START, asdict(self.settings), self.samples
        return known if self.augment == "none" else (*known, self.augment)

    def start(self, under: Conditions) -> Spiking:
        """The converted network that training starts from, made once and then read again."""
        path = self.folder(under) / "start.safetensors"
        if not path.exists():
            begun = time.perf_counter()
            (method,) = choose_methods(START)
            stages = method.stages(self.settings.steps)
            how = Method(stages, method.neuron, readout=method.readout)
            net = under.job.convert(how, steps=self.settings.steps, samples=under.samples)
            known = {**net.provenance, "calibration_seconds": time.perf_counter() - begun}
            make_folder(path.parent)
            save_artifact(replace(net.to(device="cpu"), provenance=known), path)
        return load_artifact(path)

    def images(self, under: Conditions) -> Samples:
        """The training images, read at the first call."""
        if self._images is None:
            part = under.job.data.train
            self._images = labelled_images(part, self.samples, self.augment, seed=under.job.seed)
        return self._images


@dataclass(frozen=True)
class FineTuned:
    """A converted network trained for few steps by one of `convsnn.train.methods.METHODS`."""

    method: str
    course: Course
    place: None = None
    trains: bool = True

    @property
    def name(self) -> str:
        """`finetune-METHOD`."""
        return f"finetune-{self.method}"

    @property
    def title(self) -> str:
        """The method and the steps that it is trained for."""
        return f"{_WORDS[self.method][0]} for {counted(self.course.settings.steps, 'step')}"

    @property
    def guess(self) -> float:
        """What the user allows; 0 where that is not bounded."""
        return 60 * (self.course.settings.minutes or 0.0)

    def identity(self) -> tuple[object, ...]:
        """See `Row`."""
        return *self.course.identity(), asdict(Tuning(self.method))

    def describe(self) -> dict[str, Any]:
        """See `Row`."""
        (start,), settings = choose_methods(START), self.course.settings
        stages = start.stages(settings.steps)
        _, source, what, differs = _WORDS[self.method]
        changed = "" if self.course.augment == "none" else f" --augment {self.course.augment}"
        return {
            "name": self.name,
            "title": self.title,
            "calibrate": stages,
            "neuron": start.neuron,
            "encoder": start.encoder,
            "readout": start.readout,
            "schedule": start.schedule,
            "how": f"convert --timesteps {settings.steps} --calibrate {stages} "
            f"--readout {start.readout}, then finetune --method {self.method} "
            f"--timesteps {settings.steps} --epochs {settings.epochs}{changed}",
            "spikes": start.spikes,
            "trained": True,
            "reconstruction": False,
            "labels": False,  # the original network is the teacher
            "kind": kind_in_words(start.spikes, trained=True),
            "delay": 0,
            "trained_steps": settings.steps,
            "same_network": True,
            "source": source,
            "note": f"{what}; starts from the method '{START}' for as many steps, with the "
            "original network as teacher",
            "differs": differs,
            "published": [],
        }

    def intention(self) -> str:
        """See `Row`."""
        settings = self.course.settings
        bound = "" if settings.minutes is None else f", at most {settings.minutes:g} minutes"
        return f"training {counted(settings.epochs, 'epoch')}{bound}"

    def make(self, under: Conditions) -> Made:
        """Train, or go on with it, and score the network."""
        net, settings, job = self.course.start(under), self.course.settings, under.job
        images = self.course.images(under)
        tuned = finetune(
            net,
            images,
            settings,
            Tuning(self.method),
            folder=self._checkpoints(under),
            device=job.device,
            progress=lambda epoch: show_epoch(epoch, settings.epochs),
            compile=worth_compiling(net.graph, len(images), settings, wanted=job.wanted.compile),
        )
        report = under.score(tuned.net, steps=under.steps)
        return Made(tuned.net, report, net.provenance["calibration_seconds"], tuned.state.seconds)

    def tidy(self, under: Conditions) -> None:
        """Remove the checkpoints."""
        shutil.rmtree(self._checkpoints(under), ignore_errors=True)

    def _checkpoints(self, under: Conditions) -> Path:
        return self.course.folder(under) / self.method


def plan_finetuning(
    text: str | None,
    *,
    timesteps: int,
    seed: int,
    steps: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    samples: int | None = None,
    augment: Augmentation | None = None,
) -> list[FineTuned]:
    """The rows that `text` names (see `choose_finetuning`), in a comparison of `timesteps` steps.

    None stands for what `convsnn finetune` takes where it is not told. Raises ConfigError for
    values that cannot be, and for values that nothing would use.
    """
    given = {
        "--finetune-steps": steps, "--epochs": epochs, "--minutes": minutes,
        "--training-samples": samples, "--augment": augment,
    }  # fmt: skip
    if text is None:
        unused = [name for name, value in given.items() if value is not None]
        if unused:
            raise ConfigError(
                f"{' and '.join(unused)} would change nothing", hint="say what to --finetune"
            )
        return []
    settings = Settings(
        steps=min(STEPS, timesteps) if steps is None else steps,
        epochs=EPOCHS if epochs is None else epochs,
        minutes=minutes,
        seed=seed,
    )
    if settings.steps > timesteps:
        raise ConfigError(
            f"--finetune-steps {settings.steps} is more than the --timesteps {timesteps} that are "
            "scored",
            hint="train for as many steps at most",
        )
    course = Course(settings, samples, augment or "none")
    return [FineTuned(name, course) for name in choose_finetuning(text)]
