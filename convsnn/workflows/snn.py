"""The object that Python users hold: a spiking network, and all that can be done with it."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.export import save_artifact
from convsnn.simulate import Recording, SpikingModule, record, simulate
from convsnn.spiking.adjust import with_thresholds
from convsnn.spiking.network import Spiking
from convsnn.workflows.diagnose import Diagnosis, diagnose
from convsnn.workflows.evaluate.again import evaluate_saved
from convsnn.workflows.evaluate.score import require_answer
from convsnn.workflows.evaluate.scores import Scores
from convsnn.workflows.export.network import Format
from convsnn.workflows.export.network import export as write_network
from convsnn.workflows.finetune import finetune_given, finetune_into
from convsnn.workflows.fit.chip import Fit
from convsnn.workflows.fit.chip import fit as fit_network
from convsnn.workflows.predict import Predictions, predict
from convsnn.workflows.running.device import pick_device
from convsnn.workflows.running.keywords import options_of, require_known
from convsnn.workflows.running.precision import Asked
from convsnn.workflows.running.spelling import methods_in_keywords
from convsnn.workflows.subject.given import Images
from convsnn.workflows.subject.method import Method
from convsnn.workflows.subject.reading import Reading
from convsnn.workflows.subject.saved import data_of


# hints tell how else to convert it
@methods_in_keywords(also=[*(field.name for field in fields(Method)), *Reading.__annotations__])
class SNN:
    """A spiking network that runs for `timesteps`; it never changes, changes give another.

    `convsnn.convert` and `convsnn.load` make it. Data is given as for `convsnn.convert`, or left
    out where the network knows its own. What is written, every command opens.
    """

    def __init__(self, net: Spiking, *, scores: Scores | None = None) -> None:
        self._net = net.copied().to(device="cpu")  # it runs where the images are
        self._scores = scores

    @property
    def network(self) -> Spiking:
        """A copy of what runs: graph, plan, neurons."""
        return self._net.copied()

    @property
    def timesteps(self) -> int:
        """Steps that it was made for."""
        return int(self._net.provenance["timesteps"])

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers of neurons, those of the original's activations."""
        return tuple(self._net.graph.sites)

    @property
    def thresholds(self) -> dict[str, Tensor]:
        """Copies of the thresholds, broadcasting to one sample, by layer; in units of the
        original's activations."""
        return {name: site.threshold.clone() for name, site in self._net.plan.sites.items()}

    def __call__(self, x: Tensor, *, timesteps: int | None = None) -> Any:
        """The answer to images (B, *input shape) after all steps: (B, ...), a tuple where the
        network has several outputs."""
        steps = self.timesteps if timesteps is None else timesteps
        require_answer(self._net, steps)
        x = _images(x)
        net = self._net.to(device=x.device)
        outputs = simulate(net, x, steps=steps, count=False).outputs
        answers = tuple(output[-1] for output in outputs)
        return answers[0] if len(answers) == 1 else answers

    def run(
        self, x: Tensor, *, record: Sequence[str] = (), timesteps: int | None = None
    ) -> Recording:
        """Answers after every step, and the spikes and potentials of the layers in `record`."""
        steps = self.timesteps if timesteps is None else timesteps
        require_answer(self._net, steps)
        x = _images(x)
        net = self._net.to(device=x.device)
        return _record(net, x, steps=steps, layers=list(record))

    def predict(
        self, images: str | Path | Sequence[str | Path] | Images, **options: Any
    ) -> Predictions:
        """The answers to files, folders or images, and when each settled.

        `options` are those of `convsnn predict`: top, labels, timesteps, early_exit, ...
        """
        require_known("predict", options, options_of(predict))
        return predict(self._net, images, **options)

    def evaluate(
        self,
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
        task: str | None = None,
        schedule: str | None = None,
        examples: int | None = None,
    ) -> Scores:
        """Score every time step on test images: see `convsnn evaluate`, whose options these are."""
        self._scores = evaluate_saved(
            self._net,
            test,
            timesteps=timesteps,
            samples=samples,
            batch_size=batch_size,
            seed=seed,
            device=device,
            precision=precision,
            weight_bits=weight_bits,
            compile=compile,
            early_exit=early_exit,
            exit_data=exit_data,
            preprocessing=preprocessing or {},
            task=task,
            schedule=schedule,
            examples=examples,
        )
        return self._scores

    def diagnose(
        self,
        test: Images | str | None = None,
        *,
        timesteps: int | None = None,
        samples: int = 200,
        batch_size: int | None = None,
        seed: int | None = None,
        device: str = "auto",
        preprocessing: Mapping[str, Any] | None = None,
    ) -> Diagnosis:
        """Where the error comes from, layer by layer, and what to try."""
        data, _ = data_of(self._net, test, preprocessing or {})
        return diagnose(
            self._net,
            data.test,
            timesteps=timesteps,
            samples=samples,
            batch_size=batch_size,
            seed=seed,
            device=pick_device(device),
        )

    def finetune(
        self,
        train: Images | str | None = None,
        timesteps: int = 4,
        *,
        test: Images | str | None = None,
        folder: str | Path | None = None,
        preprocessing: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> "SNN":
        """Train for few time steps on labelled images, with the original as teacher.

        `train` and `test` are as for `convsnn.convert`: (images, labels), a text, None for the data
        that the network was made for. With a `folder` the network is scored before and after on
        `test` and all is written there, as `convsnn finetune` does: finetuning.html, report.html,
        the network. `options` are those of the command: method, epochs, minutes, learning_rate,
        training_samples, augment, seed, device, ..., with a `folder` also samples, resume, force.
        Raises TypeError for an unknown one, LoadError without labels, ConfigError where there is a
        `folder` and nothing to score, or a `test` and no folder.
        """
        asked, settings = (self._net, train, timesteps), preprocessing or {}
        if folder is not None:
            found = finetune_into(
                Path(folder), *asked, test=test, preprocessing=settings, options=options
            )
            return SNN(found.net, scores=Scores(found.document, found.net))
        if test is not None:
            raise ConfigError(
                "finetune() writes the scores on `test`, and was not told where",
                hint="give a folder too, or score what it gives back: .evaluate(test)",
            )
        return SNN(finetune_given(*asked, preprocessing=settings, options=options))

    def with_thresholds(self, thresholds: Mapping[str, Tensor | float | Sequence[float]]) -> "SNN":
        """The same with other thresholds in some layers: one number, one a channel, or a tensor
        that broadcasts to a sample. Initial potentials keep their part of the threshold."""
        return SNN(with_thresholds(self._net, thresholds))

    def report(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write the network and the report of the last `evaluate`, done now where there is none."""
        scores = self._scores or self.evaluate()
        return scores.write(folder, force=force)

    def save(self, path: str | Path) -> Path:
        """Write one .safetensors file, which `convsnn.load` and every command open."""
        save_artifact(self._net.to(device="cpu"), Path(path))
        return Path(path)

    def export(self, path: str | Path, to: Format = "onnx", **options: Any) -> Path:
        """Write it for others to run, as ONNX or NIR: see `convsnn export`, whose options these
        are; what the format cannot say exactly is refused. Figures of the last `evaluate` go
        along."""
        report = None if self._scores is None else self._scores.document
        require_known("export", options, options_of(write_network, without=["report"]))
        return write_network(self._net, path, to, report=report, **options)

    def fit(self, chip: str | Path, *, weight_bits: int | None = None) -> Fit:
        """What of it does not fit a chip (loihi2, speck, spinnaker2, xylo or FILE.toml), and what
        would: see `convsnn fit`; spikes are those of the last `evaluate`. What `convert` takes as
        `fit` is another thing: neurons in the place of smooth functions."""
        report = None if self._scores is None else self._scores.document
        return fit_network(self._net, chip, weight_bits=weight_bits, report=report)

    def as_module(self) -> SpikingModule:
        """A torch module whose call runs all steps; layers are submodules under their names."""
        return SpikingModule(self._net, steps=self.timesteps)

    def __repr__(self) -> str:
        net, name = self._net, self._net.provenance["model"]["name"]
        return (
            f"SNN({name}: {len(net.graph.sites)} layers of '{net.neuron}', "
            f"{net.graph.neurons:,} neurons, {self.timesteps} steps)"
        )

    def _repr_html_(self) -> str:
        if self._scores is None:
            return f"<code>{escape(repr(self))}</code>"
        return self._scores._repr_html_()


_record = record  # the method has an argument of this name


def _images(x: Tensor) -> Tensor:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise ConfigError("images are a float tensor (B, *input shape), as the network takes them")
    return x.detach().to(torch.float32)
