"""Where the error of a spiking network comes from, layer by layer, and what to try."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import RenderableType

from calibrate.cautions import cautions
from convsnn.errors import ConfigError, MissingExtraError
from convsnn.measure.decomposition import decompose
from convsnn.report.diagnosis.advice import advise
from convsnn.report.diagnosis.document import diagnosis, render_diagnosis
from convsnn.report.diagnosis.page import render_diagnosis_page
from convsnn.report.diagnosis.sheets import diagnosis_sheets
from convsnn.report.document import to_json
from convsnn.report.files import make_folder, write_text
from convsnn.report.sheets import Sheet
from convsnn.spiking.network import Spiking
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.running.precision import as_before
from convsnn.workflows.running.result import Result
from convsnn.workflows.running.voice import command_line, note, progress, warn
from convsnn.workflows.subject.images import describe_part
from convsnn.workflows.subject.origin import was_converted
from zoo.data import Part, choose

DOCUMENT, PAGE = "diagnosis.json", "diagnosis.html"


@dataclass(frozen=True, repr=False)
class Diagnosis(Result):
    """What `convsnn diagnose --json` prints is `document`; see `convsnn.commands.diagnose`."""

    @property
    def worst(self) -> str | None:
        """The layer of the largest error; None where there is none."""
        worst: str | None = self.document["worst"]
        return worst

    def about(self) -> str:
        """The worst layer, and what is most urgent."""
        found = [one["finding"] for one in self.document["findings"]]
        return f"worst layer {self.worst}: {found[0] if found else 'nothing found'}"

    def sheets(self) -> Sequence[Sheet]:
        """See `Tabled`."""
        return diagnosis_sheets(self.document)

    def render(self, *, width: int) -> RenderableType:
        """The table of layers, and what to try."""
        del width  # it folds
        return render_diagnosis(self.document)

    def to_json(self) -> str:
        """The document as text, a list of numbers a line."""
        return to_json(self.document)

    def write(self, folder: str | Path) -> Path:
        """Write diagnosis.json and diagnosis.html to `folder`, which may be that of the network and
        keeps whatever else is in it; the folder."""
        place = make_folder(Path(folder))
        write_text(place / DOCUMENT, self.to_json())
        try:
            write_text(place / PAGE, render_diagnosis_page(self.document))
        except MissingExtraError as error:
            note(f"{PAGE} was not written: {error}; {error.hint}")
        return place


def diagnose(
    net: Spiking,
    part: Part,
    *,
    timesteps: int | None = None,
    samples: int = 200,
    batch_size: int | None = None,
    seed: int | None = None,
    device: torch.device | str = "cpu",
) -> Diagnosis:
    """Divide the error of every layer on `samples` images of `part` into its causes.

    It measures the float32 reference, whatever precision the network was scored in. Raises
    ConfigError for a network that learnt from sequences, which has no original to compare with.
    """
    origin = net.provenance
    if net.encoder.steps is not None and not was_converted(net):
        raise ConfigError(
            "this network, which is shown sequences, was not converted, so there is no original "
            "whose accuracy it could have lost",
            hint="score it with convsnn evaluate",
        )
    made_in = as_before(origin, precision=None, weight_bits=None, compile=None).describe()
    if made_in != "float32":
        warn(f"this is the float32 reference; the network was scored in {made_in}")
    steps = origin["timesteps"] if timesteps is None else timesteps
    scoring.require_answer(net, steps)
    number = origin["seed"] if seed is None else seed
    indices = choose(part, samples, seed=number)
    with progress("diagnosing", len(indices)) as advance:
        found = decompose(
            net,
            part.batches(batch_size or origin["batch_size"], indices=indices),
            steps=steps,
            device=torch.device(device),
            progress=advance,
        )
    header = {
        "command": command_line(),
        "seed": number,
        "timesteps": steps,
        "model": origin["model"],
        "method": origin["method"],
        "data": describe_part(part, len(indices)),
    }
    document = diagnosis(net, found, header=header)
    found_out = cautions(net.neuron, net.plan)
    document["findings"] = advise(document, mismatches=[(c.text, c.remedy) for c in found_out])
    return Diagnosis(document)
