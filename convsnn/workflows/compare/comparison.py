"""Sets methods of conversion and of training side by side on one network; the way in to it all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from rich.console import RenderableType

from calibrate.fits import chosen_layers, parse_fits
from calibrate.methods import choose_methods
from calibrate.named import NamedMethod
from convsnn.errors import ConfigError, MissingExtraError
from convsnn.export import load_artifact
from convsnn.registry import split_spec
from convsnn.report.comparison.apart import best_row
from convsnn.report.comparison.sheets import comparison_sheets
from convsnn.report.comparison.table import render_comparison
from convsnn.report.document import to_json
from convsnn.report.files import write_text
from convsnn.report.sheets import Sheet
from convsnn.report.wording import counted
from convsnn.spiking.network import Spiking
from convsnn.train.samples import Augmentation
from convsnn.workflows.compare.added import open_added
from convsnn.workflows.compare.finetuned import plan_finetuning
from convsnn.workflows.compare.rows import Conversion, Row
from convsnn.workflows.compare.runs import open_bench
from convsnn.workflows.compare.sequences import on_sequences, require_images
from convsnn.workflows.running.launched import launched
from convsnn.workflows.running.result import Result
from convsnn.workflows.running.resume import check, early_settings
from convsnn.workflows.running.voice import note
from convsnn.workflows.subject.given import Images
from convsnn.workflows.subject.opening import Subject, opened
from convsnn.workflows.subject.reading import Reading, subject_of
from convsnn.workflows.train.lessons import require_labels

PAGE = "comparison.html"


@dataclass(frozen=True, repr=False)
class Comparison(Result):
    """The rows of a comparison, in `document`, and the networks of them, in `folder`."""

    folder: Path

    @property
    def names(self) -> list[str]:
        """The rows, as the table has them."""
        return [row["name"] for row in self.document["methods"]]

    @property
    def failed(self) -> bool:
        """Whether a row could not be made."""
        return bool(self.document["failed"])

    @property
    def best(self) -> str | None:
        """The row with the best score after the last step, of equals the one that costs least."""
        row = best_row(self.document)
        return None if row is None else str(row["name"])

    def place(self, name: str) -> Path:
        """The saved network of a row, which every command opens; ConfigError for no row."""
        for row in self.document["methods"]:
            if row["name"] == name:
                return self.folder / row["network"]
        raise ConfigError(f"the comparison has no row '{name}'", hint=", ".join(self.names))

    def open(self, name: str) -> Spiking:
        """The network of a row."""
        place = self.place(name)
        return load_artifact(place / "network.safetensors" if place.is_dir() else place)

    def render(self, *, width: int) -> RenderableType:
        """See `Result`."""
        return render_comparison(self.document, width=width)

    def sheets(self) -> Sequence[Sheet]:
        """See `Tabled`."""
        return comparison_sheets(self.document)

    def about(self) -> str:
        """See `Result`."""
        best = "" if self.best is None else f", best {self.best}"
        rows = counted(len(self.names), "method")
        return f"{self.document['model']['name']}: {rows}{best}, in {self.folder}"

    def to_json(self) -> str:
        """The document as text, a list of numbers a line."""
        return to_json(self.document)


def compare(
    subject: Subject,
    data: Images | str | None = None,
    *,
    test: Images | str | None = None,
    methods: str | Sequence[str] = "all",
    timesteps: int = 128,
    samples: int | None = None,
    budget: float | None = None,
    finetune: str | None = None,
    finetune_steps: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    training_samples: int | None = None,
    augment: Augmentation | None = None,
    add: str | Path | Sequence[str | Path] = (),
    folder: str | Path | None = None,
    force: bool = False,
    schedule: str | None = None,
    fit: str | Sequence[str] | None = None,
    **reading: Unpack[Reading],
) -> Comparison:
    """Make and score a row for each of `methods`, of `finetune` and of the saved networks `add`.

    `subject` and `data` are a model and training images as `convsnn.convert` takes them, a torch
    module, an ONNX file, `zoo:NAME` and the like with a tensor (N, ...), a pair (images, labels), a
    DataLoader, or a text that names a data set. `test`, in the same forms, is what is scored and
    never calibrated on: needed beside images, else the test part of the data set. `reading` are the
    keywords of `convert` that say how both are read: weights, input_shape, answer, task,
    preprocessing, calibration_samples, batch_size, seed, device, precision, weight_bits, compile,
    verify. An `Opening` or an open `Job` says all of that itself.

    `methods` are names of `calibrate.methods`, "all" or "none"; `samples` how many test images are
    scored (None: all); `budget` are minutes after which no row is begun. `finetune` are names of
    `convsnn.train.methods` or "all", each trained for `finetune_steps` time steps, `epochs` at most
    and no longer than `minutes`, on `training_samples` images changed by `augment`. Everything is
    kept in `folder` (default: NAME-compare), where the same call goes on; results of other settings
    there are refused, or made anew with `force`; of a `schedule` only the methods that fire by it
    are taken. `fit` stands neurons for smooth activations, as `convert` does, in the methods whose
    neuron is `if`.

    Raises ConfigError (images without `test`, among others), LoadError, UnsupportedError or
    RewriteError, all before any row is made; a row that cannot be made is one that says why.
    """
    if timesteps < 1:
        raise ConfigError(f"--timesteps must be at least 1, not {timesteps}")
    if budget is not None and not 0 <= budget < float("inf"):
        raise ConfigError(f"--budget is a number of minutes of at least 0, not {budget}")
    names = methods if isinstance(methods, str) else ",".join(methods)
    asked = subject_of(compare, subject, data, test, reading=reading)
    fits = parse_fits(fit)
    chosen = _of_if(_chosen(names, schedule), names) if fits else _chosen(names, schedule)
    trained = plan_finetuning(
        finetune, timesteps=timesteps, seed=asked.seed, steps=finetune_steps, epochs=epochs,
        minutes=minutes, samples=training_samples, augment=augment,
    )  # fmt: skip
    if trained and launched() > 1:
        raise ConfigError(
            "rows that are trained are made in one process",
            hint="leave out --finetune, train them apart, and name them with --add",
        )
    if not (chosen or trained or add):
        raise ConfigError("there is nothing to compare", hint="name --methods, --finetune or --add")
    folder = Path(folder or f"{asked.source.name}-compare")
    early = early_settings(asked.source, steps=timesteps, seed=asked.seed)
    check(folder, early, command="compare", force=force)
    job = opened(asked, frames=timesteps)
    chosen_layers(job.graph, fits)  # one that is not there is refused before any row
    every = names.strip() == "all"
    if job.frames is not None:
        if job.frames < timesteps:
            raise ConfigError(
                f"{job.data.test.source} makes sequences of {job.frames} frames, which show "
                f"nothing at step {timesteps}",
                hint=f"compare at --timesteps {job.frames} at most",
            )
        job = job.first(timesteps)
        chosen = on_sequences(chosen, timesteps, named=not every)
    rows: list[Row] = [Conversion(m, timesteps, fit=fits, frames=job.frames) for m in chosen]
    if trained:
        require_images(job.frames)
        require_labels(job.data.train)
    added = [Path(place) for place in ([add] if isinstance(add, str | Path) else add)]
    rows += [*open_added(added, job), *trained]  # what takes longest comes last
    bench = open_bench(job, folder, steps=timesteps, samples=samples, force=force)
    offered = [row.name for row in rows if isinstance(row, Conversion) and every]
    document = bench.run(rows, budget=None if budget is None else 60 * budget, offered=offered)
    found = Comparison(document, folder)
    _write(found)
    return found


def _write(found: Comparison) -> None:
    """Write comparison.json and the page."""
    write_text(found.folder / "comparison.json", found.to_json())
    try:
        from convsnn.report.comparison.page import render_comparison_page

        page = render_comparison_page(found.document)
    except MissingExtraError as error:
        note(f"{PAGE} was not written: {error}; {error.hint}")
        return
    write_text(found.folder / PAGE, page)


def _of_if(methods: Sequence[NamedMethod], names: str) -> list[NamedMethod]:
    """Those whose neurons fits are made of; ConfigError where others were asked for by name."""
    kept = [method for method in methods if split_spec(method.neuron)[0] == "if"]
    left = [method.name for method in methods if method not in kept]
    if left and names != "all":
        raise ConfigError(
            f"fits are sums of if neurons, which {', '.join(left)} have none of",
            hint="leave these methods out, or --fit",
        )
    if left:
        note(f"left out, for fits are sums of if neurons: {', '.join(left)}")
    return kept


def _chosen(names: str, schedule: str | None) -> list[NamedMethod]:
    return [method for method in choose_methods(names) if schedule in (None, method.schedule)]
