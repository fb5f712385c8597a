"""The runs of a comparison: each method once, kept as soon as it is finished, within a budget."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from calibrate.methods import NamedMethod
from convsnn.commands import scoring
from convsnn.commands.job import EXAMPLES, Job, Method
from convsnn.commands.resumable import claim, fingerprint, job_settings
from convsnn.errors import ConvsnnError, ExportError
from convsnn.report.assemble import packages, versions
from convsnn.report.comparison import compare_reports
from convsnn.report.document import to_json, validate
from convsnn.report.files import write_text
from zoo.data import choose

Report = dict[str, Any]


def settings_of(job: Job, *, steps: int, samples: int | None) -> dict[str, Any]:
    """Everything that results depend on beside the method."""
    test = job.data.test
    scored = choose(test, samples, seed=job.seed)
    x, y = next(test.batches(EXAMPLES, indices=scored[:EXAMPLES]))
    labels = None if y is None else y.tolist()
    return {
        **job_settings(job, steps=steps),
        "samples": len(scored),
        "test_digest": fingerprint(x.cpu().numpy().tobytes().hex(), labels, len(test)),
    }


def open_bench(
    job: Job, folder: Path, *, steps: int, samples: int | None, force: bool = False
) -> "Bench":
    """Claim `folder` for comparing methods on `job`; see `claim` for what is refused."""
    settings = settings_of(job, steps=steps, samples=samples)
    claim(folder, settings, command="compare", force=force)
    return Bench(job, folder, steps, samples, json.loads(json.dumps(settings)))


@dataclass
class Bench:
    """A network, its data and the directory where finished methods are kept as reports.

    `elapsed` are the seconds that each finished method took, earlier runs included.
    """

    job: Job
    folder: Path
    steps: int
    samples: int | None
    settings: Mapping[str, Any]
    elapsed: list[float] = field(default_factory=list)

    def run(self, methods: Sequence[NamedMethod], *, budget: float | None) -> dict[str, Any]:
        """The comparison of `methods`; `budget` in seconds stops new ones from being begun.

        A method that cannot run becomes an entry that says why; its error is not raised.
        """
        note = Console(stderr=True, highlight=False)
        start = time.perf_counter()
        reports: list[Report] = []
        failed, left_out = [], []
        for number, method in enumerate(methods, start=1):
            place = f"[{number}/{len(methods)}] {method.title}"
            report = self._kept(method)
            if report is not None:
                note.print(f"{place}: taken from {self.folder / method.name}.json", markup=False)
                reports.append(report)
                continue
            reason = self._over(budget, time.perf_counter() - start)
            if reason:
                left_out.append({"name": method.name, "title": method.title, "reason": reason})
                continue
            note.print(f"{place}: {method.stages(self.steps)}, {method.neuron}", markup=False)
            try:
                reports.append(self._measure(method))
            except ExportError:
                raise  # the directory cannot be written: no other method would fare better
            except ConvsnnError as error:
                note.print(f"failed: {error}", style="red", markup=False)
                about = {"name": method.name, "title": method.title}
                failed.append({**about, "message": str(error), "hint": error.hint})
        return compare_reports(reports, header=self._header(), failed=failed, left_out=left_out)

    def _measure(self, method: NamedMethod) -> Report:
        """Convert and score by one method, and keep the report."""
        start = time.perf_counter()
        how = Method(
            method.stages(self.steps),
            method.neuron,
            method.encoder,
            readout=method.reading(self.steps),
        )
        net = self.job.convert(how, steps=self.steps, samples=self.samples)
        calibrated = time.perf_counter()
        report = self.job.score(net, steps=self.steps, samples=self.samples)
        spent = time.perf_counter() - start
        report["comparison"] = {
            "method": self._describe(method),
            "fingerprint": self._fingerprint(method),
            "calibration_seconds": calibrated - start,
            "seconds": spent,
        }
        write_text(self.folder / f"{method.name}.json", to_json(report))
        self.elapsed.append(spent)
        return report

    def _kept(self, method: NamedMethod) -> Report | None:
        """The report of an earlier run with the same settings, or None."""
        try:
            report = json.loads((self.folder / f"{method.name}.json").read_text(encoding="utf-8"))
            validate(report)
            if report["comparison"]["fingerprint"] != self._fingerprint(method):
                return None
            report["comparison"]["method"] = self._describe(method)  # its words may have changed
            self.elapsed.append(float(report["comparison"]["seconds"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError, ExportError):
            return None  # not there, or damaged: it is made anew
        return dict(report)

    def _fingerprint(self, method: NamedMethod) -> str:
        how = [method.stages(self.steps), method.neuron, method.reading(self.steps)]
        if method.encoder != "direct":
            how.append(method.encoder)
        return fingerprint(self.settings, *how)

    def _describe(self, method: NamedMethod) -> dict[str, Any]:
        """The method as the report names it."""
        plain = {
            **vars(method),
            "calibrate": method.stages(self.steps),
            "kind": method.kind,
            "delay": method.delay(self.steps),
        }
        plain["published"] = [
            {**vars(p), "accuracy": {str(step): value for step, value in p.accuracy.items()}}
            for p in method.published
        ]
        return plain

    def _over(self, budget: float | None, spent: float) -> str:
        """Why the next method may not begin, or nothing."""
        if budget is None:
            return ""
        expected = sum(self.elapsed) / len(self.elapsed) if self.elapsed else 0.0
        if spent + expected < budget:
            return ""
        return (
            f"{spent / 60:.1f} of {budget / 60:g} minutes were spent and a method takes "
            f"{expected / 60:.1f}; the same command goes on from here"
        )

    def _header(self) -> dict[str, Any]:
        scored = len(choose(self.job.data.test, self.samples, seed=self.job.seed))
        return {
            "schema": 1,
            "convsnn": versions()["convsnn"],
            "command": scoring.command_line(),
            "seed": self.job.seed,
            "timesteps": self.steps,
            "precision": self.job.wanted.describe(),
            "model": {
                "name": self.job.source.name,
                "source": self.job.source.text,
                "sha256": self.job.source.sha256,
            },
            "data": {
                "calibration": scoring.describe_part(
                    self.job.images.part, len(self.job.images.indices)
                ),
                "evaluation": scoring.describe_part(self.job.data.test, scored),
            },
            "versions": packages(),
        }
