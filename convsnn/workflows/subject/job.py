"""A network, its graph and its data, opened for a command that converts: checked before any work.

`convert`, `compare` and `tune` start here, so that one command line means the same in all three.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from convsnn.errors import CalibrationError, ConfigError, out_of_memory
from convsnn.graph import Graph
from convsnn.load.verify import verify_import
from convsnn.measure.fitting import fitting_batch
from convsnn.report.page.assemble import versions
from convsnn.spiking.network import Spiking
from convsnn.workflows.convert.network import convert
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.evaluate.held_out import First
from convsnn.workflows.evaluate.pricing import Pricing
from convsnn.workflows.running.batch import note_smaller_batch
from convsnn.workflows.running.launched import beside, require_alone
from convsnn.workflows.running.precision import Wanted
from convsnn.workflows.running.processes import Group
from convsnn.workflows.running.voice import command_line, note, warn
from convsnn.workflows.subject.images import Chosen, describe_part
from convsnn.workflows.subject.method import Method
from convsnn.workflows.subject.samples import open_samples, prepared
from convsnn.workflows.subject.source import NO_WEIGHTS, Source
from zoo.data import (
    DataSet,
    Part,
    Preprocessing,
    class_names,
    data_place,
    draw,
    stills,
)
from zoo.data.still import FirstFrames

EXAMPLES = 4  # images that every exact step is verified on


@dataclass(frozen=True)
class Job:
    """What is known before a conversion: the network as a graph, the data, the images chosen.

    `images` are training images or sequences to calibrate on, `example` a few of them as the
    original is shown them, (B, *input shape).
    `test` is what is scored in the place of the data's own test part. `asked_batch` is the batch
    size that the user gave, None for one that fits this machine. `task` is what the network is for,
    None where that has to be seen from other data or outputs.
    """

    source: Source
    spec: str | None
    data: DataSet
    images: Chosen
    example: Tensor
    graph: Graph
    preprocessing: dict[str, Any]
    device: torch.device
    seed: int
    batch_size: int
    asked_batch: int | None = None
    wanted: Wanted = field(default_factory=Wanted)
    task: str | None = None
    test: str | Part | None = None
    group: Group = field(default_factory=Group)

    def convert(self, method: Method, *, steps: int, samples: int | None = None) -> Spiking:
        """Calibrate and rewrite; the network says how it was made.

        `samples` is how many test images the user means to score. Where memory runs out it begins
        again with half as many images at once, unless other processes wait for it.
        """
        images, method = self.images, method.settled(self.graph).on(self.data.train, steps)
        while True:
            try:
                return self._convert(images, method, steps, samples)
            except Exception as error:
                if not out_of_memory(error):
                    raise
                if images.batch_size == 1 or self.group.count > 1:
                    raise _too_large(images.batch_size, self.group.count) from None
            images = replace(images, batch_size=images.batch_size // 2)
            note_smaller_batch(images.batch_size)

    def _convert(self, images: Chosen, method: Method, steps: int, samples: int | None) -> Spiking:
        net = convert(
            self.graph.to(device=self.device),
            self.example.to(self.device),
            images,
            method.stages(),
            steps=steps,
            neuron=method.neuron,
            encoder=method.encoder,
            max_pool=method.max_pool,
            readout=method.readout,
            schedule=method.schedule,
            spikes=method.spikes,
            fit=method.fit,
            seed=self.seed,
            share=self.group,
        )
        used = replace(method, readout=net.readout)
        return replace(net, provenance=self._provenance(used, steps, samples))

    def score(
        self,
        net: Spiking,
        *,
        steps: int,
        samples: int | None = None,
        before: First | None = None,
        also: scoring.Also | None = None,
        pricing: Pricing | None = None,
        examples: int | None = 0,
    ) -> dict[str, Any]:
        """The report on `net`, scored on `samples` test images (None: all); see `scoring.score`."""
        return scoring.score(
            net,
            self.data,
            steps=steps,
            samples=samples,
            seed=self.seed,
            batch_size=self.batch_size,
            device=self.device,
            before=before,
            also=also,
            pricing=pricing,
            wanted=self.wanted,
            examples=examples,
            group=self.group,
        )

    def data_for(
        self, shape: tuple[int, ...], settings: Preprocessing, *, frames: int | None
    ) -> DataSet:
        """The data as another network takes it, in sequences of `frames` or, for None, as images;
        images given in Python are as all take them."""
        given = self.data.train if self.spec is None else self.spec
        return prepared(given, self.test, shape, settings, frames=frames, still=frames is None)

    @property
    def frames(self) -> int | None:
        """Frames of each sample where these are sequences."""
        return self.data.train.steps

    def first(self, steps: int) -> "Job":
        """The same for a network that runs fewer `steps`: of sequences, with the first frames."""
        if self.frames is None or steps == self.frames:
            return self
        train, test = (FirstFrames(part, steps) for part in (self.data.train, self.data.test))
        images = replace(self.images, part=FirstFrames(self.images.part, steps))
        return replace(self, data=replace(self.data, train=train, test=test), images=images)

    def still(self) -> "Job":
        """The same with images: of sequences the mean frames."""
        if self.frames is None:
            return self
        data = replace(self.data, train=stills(self.data.train), test=stills(self.data.test))
        images = replace(self.images, part=stills(self.images.part))
        settings = {**self.preprocessing, "frames": self.frames}
        return replace(self, data=data, images=images, preprocessing=settings)

    def shown(self, method: Method, steps: int) -> tuple["Job", Method]:
        """The job as `method` is shown its data, and what the method leaves open, as network and
        data want it. A layer that waits for all its input is shown the mean of a sequence.
        ConfigError where both do not go together."""
        method, job = method.settled(self.graph), self
        if method.schedule == "layers" and method.encoder == "direct":
            job = self.still()
        return job, method.on(job.data.train, steps)

    def _provenance(self, method: Method, steps: int, samples: int | None) -> dict[str, Any]:
        part = self.images.part
        return {
            "command": command_line(),
            "model": {
                "name": self.source.name,
                "source": self.source.text,
                "sha256": self.source.sha256,
                "parameters": self.source.parameters(self.graph),
                "thresholds": 0,
                "input_shape": list(self.example.shape[1:]),
            },
            "data": self.spec,
            **data_place(self.spec),
            "task": self.task,
            "labels": class_names(part),
            "preprocessing": self.preprocessing,
            "versions": versions(),
            "calibration": describe_part(part, len(self.images.indices)),
            "method": method.to_json(),
            "seed": self.seed,
            "timesteps": steps,
            "batch_size": self.batch_size,
            "engine": vars(self.wanted),
            "samples": samples,
        }


def open_job(
    source: Source,
    *,
    data: str | Part | None,
    test: str | Part | None = None,
    preprocessing: Mapping[str, Any],
    calibration_samples: int,
    batch_size: int | None,
    seed: int,
    device: torch.device,
    verify: bool,
    gate: float | None = None,
    wanted: Wanted | None = None,
    task: str | None = None,
    group: Group | None = None,
    frames: int | None = None,
    still: bool | None = None,
) -> Job:
    """Open the data, read the network and prove that what was read is the original.

    `data` names a data set, or holds images given in Python as the network takes them.
    `test`, likewise, is scored in the place of its test part. `preprocessing` replaces the model's
    own where it is not None; `gate` is the user's bound on the loss of accuracy, refused where
    nothing could be scored; `task` is what the network is for (None: as the targets decide it);
    without a `group` it is refused where several processes were started. Events become so many
    `frames`, and sequences have to have them; `still` asks for images, which of sequences are the
    mean frames, False for sequences, None for what the data holds.
    Raises ConfigError, LoadError, UnsupportedError or RewriteError, all before any calibration.
    """
    if group is None:
        require_alone()
        group = Group()
    group.device = device
    if not source.trained:
        raise ConfigError(f"'{source.text}' has no trained weights", hint=NO_WEIGHTS)
    spec, settings, opened = open_samples(
        source, data, test, preprocessing, frames=frames, still=still
    )
    chosen = draw(opened.train, calibration_samples, seed=seed)
    example, _ = next(stills(opened.train).batches(EXAMPLES, indices=chosen[:EXAMPLES]))
    note(f"reading {source.text}")
    if not source.loaded:
        warn("no --weights given; the network has those its factory sets")
    graph = source.graph(example)
    graph.require_convertible()
    told = scoring.require_scores(gate, opened, graph, task=task)
    if verify:
        verify_import(graph, source.reference(), example)
    fits = batch_size or fitting_batch(graph, device, processes=beside(device.type))
    (batch,) = group.agree([fits])
    return Job(
        source,
        spec,
        opened,
        Chosen(opened.train, chosen, batch, device),
        example,
        graph,
        settings.to_json(),
        device,
        seed,
        batch,
        batch_size,
        (wanted or Wanted()).settled(device),
        task or told.said,
        test,
        group,
    )


def _too_large(images: int, processes: int) -> CalibrationError:
    """Memory that ran out on so many images at once, and what can be done about it."""
    ways = ["on a machine, or a --device, with more memory"]
    ways += ["in fewer processes"] if processes > 1 else []
    ways += ["with a smaller --batch-size"] if images > 1 else []
    many = f"{images} images" if images > 1 else "one image"
    return CalibrationError(
        f"memory ran out on {many} at once", hint=f"calibrate {', or '.join(ways)}"
    )
