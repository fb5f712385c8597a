"""What scoring a network gave: the report, with its most wanted numbers at hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import RenderableType

from convsnn.report.page.sheets import report_sheets
from convsnn.report.page.table import render_table, score_in_words
from convsnn.report.sheets import Sheet
from convsnn.spiking.network import Spiking
from convsnn.workflows.evaluate.score import write_results
from convsnn.workflows.running.result import Result
from convsnn.workflows.running.voice import note


@dataclass(frozen=True, repr=False)
class Scores(Result):
    """`document` is report.json, schema 1; the lists have a number for every time step."""

    network: Spiking

    @property
    def accuracy(self) -> Sequence[float] | None:
        """Of the spiking network, 0 to 1, after 1, 2, ... steps; None without labels."""
        found: Sequence[float] | None = self.document["snn"]["accuracy"]
        return found

    @property
    def ann_accuracy(self) -> float | None:
        """Of the original; None without labels."""
        found: float | None = self.document["ann"]["accuracy"]
        return found

    @property
    def agreement(self) -> Sequence[float]:
        """With the original's answers, 0 to 1."""
        found: Sequence[float] = self.document["snn"]["agreement"]
        return found

    @property
    def energy(self) -> Sequence[float]:
        """As a ratio to the original's, every spike and its real fan-out counted."""
        found: Sequence[float] = self.document["energy"]["counted"]
        return found

    def about(self) -> str:
        """Accuracy after the last step, beside the original's."""
        return score_in_words(dict(self.document))

    def render(self, *, width: int) -> RenderableType:
        """The table of `convsnn convert`."""
        del width  # it folds
        return render_table(dict(self.document))

    def sheets(self) -> Sequence[Sheet]:
        """See `Tabled`."""
        return report_sheets(dict(self.document))

    def write(self, folder: str | Path, *, force: bool = False, network: bool = True) -> Path:
        """Write report.json, report.html and the `network`, as `convsnn convert` does; the folder.

        ConfigError where there is something else, or an earlier result without `force`.
        """
        kept = self.network.to(device="cpu") if network else None
        for line in write_results(Path(folder), dict(self.document), force=force, net=kept):
            note(line)
        return Path(folder)
