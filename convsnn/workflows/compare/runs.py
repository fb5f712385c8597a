"""The runs of a comparison: each row once, kept as soon as it is finished, within a budget."""

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convsnn.errors import ConvsnnError, ExportError, TooFewStepsError
from convsnn.export import save_artifact
from convsnn.measure import energy, score_ann
from convsnn.report.comparison.document import column, compare_reports
from convsnn.report.document import to_json, validate
from convsnn.report.files import write_text
from convsnn.report.page.assemble import packages, versions
from convsnn.workflows.compare.rows import Conditions, Row
from convsnn.workflows.running.resume import claim, fingerprint, job_settings
from convsnn.workflows.running.voice import command_line, note, warn
from convsnn.workflows.subject.images import describe_part
from convsnn.workflows.subject.job import Job
from zoo.data import choose, stills

Report = dict[str, Any]


def settings_of(job: Job, *, steps: int, samples: int | None) -> dict[str, Any]:
    """Everything that results depend on beside the method."""
    test = job.data.test
    return {
        **job_settings(job, steps=steps),
        "samples": len(choose(test, samples, seed=job.seed)),
        "test_digest": test.digest,
    }


def open_bench(
    job: Job, folder: Path, *, steps: int, samples: int | None, force: bool = False
) -> "Bench":
    """Claim `folder` for comparing methods on `job`; see `claim` for what is refused."""
    settings = settings_of(job, steps=steps, samples=samples)
    if job.group.number == 0:
        claim(folder, settings, command="compare", force=force)
    plain = json.loads(json.dumps(settings))
    return Bench(Conditions(job, folder, steps, samples, plain))


@dataclass
class Bench:
    """What rows are made under, and the directory where finished ones are kept: the report
    as NAME.json and the network as NAME.safetensors.

    `elapsed` are the seconds that each finished row took, earlier runs included, apart for those
    that convert or score only and those that train.
    """

    under: Conditions
    elapsed: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})

    def run(
        self, rows: Sequence[Row], *, budget: float | None, offered: Collection[str] = ()
    ) -> dict[str, Any]:
        """The comparison of `rows`; `budget` in seconds stops new ones from being begun.

        A row that cannot be made becomes an entry that says why; its error is not raised. Of those
        that are `offered`, by name, and not asked for, one that needs more steps is left out. Of
        several processes the first decides and keeps, and alone comes back from here.
        """
        start, group = time.perf_counter(), self.under.job.group
        group.goes_on = True
        reports: list[Report] = []
        failed, left_out = [], []
        for number, row in enumerate(rows, start=1):
            place = f"[{number}/{len(rows)}] {row.title}"
            report = None if group.number else self._kept(row)
            reason = ""
            if report is None:
                reason = self._over(row, budget, time.perf_counter() - start)
            made = report is None and not reason
            if not group.agree([made])[0] and group.number:
                continue
            if report is not None:
                note(f"{place}: taken from {self._file(row)}")
                reports.append(report)
                row.tidy(self.under)
                continue
            if reason:
                left_out.append({"name": row.name, "title": row.title, "reason": reason})
                continue
            note(f"{place}: {row.intention()}")
            try:
                reports.append(self._measure(row))
                if group.number == 0:
                    row.tidy(self.under)
            except ExportError:
                raise  # the directory cannot be written: no other row would fare better
            except ConvsnnError as error:
                if group.broken:
                    raise  # there is nobody left to share the next row with
                about = {"name": row.name, "title": row.title}
                if isinstance(error, TooFewStepsError) and row.name in offered:
                    note(f"left out: {error}")
                    left_out.append(
                        {**about, "reason": f"{error}; {error.hint.partition(', or ')[0]}"}
                    )
                    continue
                warn(f"failed: {error}")
                failed.append({**about, "message": str(error), "hint": error.hint})
        group.goes_on = False
        group.done()
        return compare_reports(
            reports,
            header=self._header(),
            ann=self._ann(reports),
            failed=failed,
            left_out=left_out,
        )

    def _measure(self, row: Row) -> Report:
        """Make the row, and keep its report."""
        start = time.perf_counter()
        with self.under.job.group.attempt():
            made = row.make(self.under)
        if self.under.job.group.number:
            return {}
        # of a training that was gone on with, the earlier part counts as well
        spent = max(time.perf_counter() - start, made.training_seconds or 0.0 if row.trains else 0)
        report = made.report
        if row.place is None:  # the report is written last: where it is, the network is
            save_artifact(made.net.to(device="cpu"), self._network(row))
        report["comparison"] = {
            "method": row.describe(),
            "network": self._network(row).name if row.place is None else str(row.place.resolve()),
            "fingerprint": self._fingerprint(row),
            "right": report.pop("right", None),
            "columns": {str(steps): column(other) for steps, other in made.columns.items()},
            "calibration_seconds": made.calibration_seconds,
            "training_seconds": made.training_seconds,
            "seconds": spent,
        }
        write_text(self._file(row), to_json(report))
        self.elapsed[row.trains].append(spent)
        return report

    def _kept(self, row: Row) -> Report | None:
        """The report of an earlier run with the same settings, or None."""
        try:
            report = json.loads(self._file(row).read_text(encoding="utf-8"))
            validate(report)
            about = report["comparison"]
            if about["fingerprint"] != self._fingerprint(row):
                return None
            if row.place is None and not self._network(row).is_file():
                return None  # made before networks were kept
            about.setdefault("training_seconds", 0.0)  # before there was training
            about["method"] = row.describe()  # its words may have changed
            self.elapsed[row.trains].append(float(about["seconds"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError, ExportError):
            return None  # not there, or damaged: it is made anew
        return dict(report)

    def _file(self, row: Row) -> Path:
        return self.under.folder / f"{row.name}.json"

    def _network(self, row: Row) -> Path:
        return self.under.folder / f"{row.name}.safetensors"

    def _fingerprint(self, row: Row) -> str:
        return fingerprint(self.under.settings, *row.identity())

    def _ann(self, reports: Sequence[Report]) -> dict[str, Any] | None:
        """The compared network on the test images, from a report on it, else measured now."""
        if not reports:
            return None
        for report in reports:
            if report["comparison"]["method"]["same_network"]:
                return dict(report["ann"])
        job, samples = self.under.job, self.under.samples
        chosen = choose(job.data.test, samples, seed=job.seed)
        graph = job.graph.to(device=job.device)
        batches = stills(job.data.test).batches(job.batch_size, indices=chosen)
        accuracy, _ = score_ann(
            graph, ((x.to(job.device), None if y is None else y.to(job.device)) for x, y in batches)
        )
        return {
            "accuracy": accuracy,
            "energy_joules": energy.ann_joules(graph),
            "macs": sum(energy.macs(graph, node) for node in graph.nodes),
        }

    def _over(self, row: Row, budget: float | None, spent: float) -> str:
        """Why the next row may not begin, or nothing."""
        if budget is None:
            return ""
        known = self.elapsed[row.trains]
        expected = sum(known) / len(known) if known else row.guess
        if spent + expected < budget:
            return ""
        return (
            f"{spent / 60:.1f} of {budget / 60:g} minutes were spent and a method takes "
            f"{expected / 60:.1f}; the same command goes on from here"
        )

    def _header(self) -> dict[str, Any]:
        job = self.under.job
        scored = len(choose(job.data.test, self.under.samples, seed=job.seed))
        return {
            "schema": 1,
            "convsnn": versions()["convsnn"],
            "command": command_line(),
            "seed": job.seed,
            "timesteps": self.under.steps,
            "precision": job.wanted.describe(),
            "processes": job.group.count,
            "folder": str(self.under.folder),
            "model": {
                "name": job.source.name,
                "source": job.source.text,
                "sha256": job.source.sha256,
            },
            "data": {
                "calibration": describe_part(job.images.part, len(job.images.indices)),
                "evaluation": describe_part(job.data.test, scored),
            },
            "versions": packages(),
        }
