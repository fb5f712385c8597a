"""A result directory that an interrupted command goes on in: it says first what it is made with."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from convsnn.errors import ConfigError, LoadError
from convsnn.graph import Graph
from convsnn.report.files import require_writable, unwritable, write_text
from convsnn.report.page.assemble import versions
from convsnn.workflows.subject.job import Job
from convsnn.workflows.subject.source import Source

SETTINGS = "settings.json"


def fingerprint(*parts: object) -> str:
    """A digest of plain values; equal values give the same one in every process."""
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def early_settings(source: Source, *, steps: int, seed: int) -> dict[str, Any]:
    """The part of `job_settings` that is known before data and network are read."""
    return {"model": source.text, "sha256": source.sha256, "timesteps": steps, "seed": seed}


def job_settings(job: Job, *, steps: int) -> dict[str, Any]:
    """What a result depends on beside the method and the test images.

    Data sets are known by their name and a digest of all that they hold; the network by one of all
    its values, since a file may keep them in others.
    """
    return {
        **early_settings(job.source, steps=steps, seed=job.seed),
        "data": job.spec,
        **({} if job.frames is None else {"frames": job.frames}),
        "preprocessing": job.preprocessing,
        "task": job.task,
        "calibration_samples": len(job.images.indices),
        "training_digest": job.data.train.digest,
        "network_digest": _network_digest(job.graph),
        "batch_size": job.asked_batch,  # results do not hang on one that was chosen to fit
        "engine": vars(job.wanted),
        "device": str(job.device),
        "versions": {name: versions()[name] for name in ("convsnn", "torch")},
    }


def _network_digest(graph: Graph) -> str:
    digest = hashlib.sha256(graph.topology().encode())
    for name, tensor in sorted(graph.tensors.items()):
        digest.update(f"{name!r} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def claim(
    folder: Path,
    settings: Mapping[str, Any],
    *,
    command: str,
    force: bool,
    results: Iterable[str] = (),
) -> bool:
    """Make `folder` the place of these results; whether what stands in it is gone on with.

    A directory of the same command and settings is gone on with, unless `force` is set. One of
    other settings is refused with ConfigError that names them, or with `force` taken over. The
    files `results` are removed wherever they are not gone on with, before the settings change: a
    caller stopped at any time leaves none that belong to others. A directory that is neither
    empty nor of this command is always refused.
    """
    wanted = json.loads(json.dumps({"command": command, **settings}))
    known = _known(folder, command)
    if not force:
        _refuse_others(folder, known, wanted, keys=[*wanted, *(known or ())])
    goes_on = known == wanted and not force
    make_folder(folder, without=() if goes_on else results)
    if known != wanted:
        write_text(folder / SETTINGS, json.dumps(wanted, indent=2) + "\n")
    return goes_on


def make_folder(folder: Path, *, without: Iterable[str] = ()) -> None:
    """Make `folder` where it is not there yet, and remove the files `without`; ExportError where
    that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in without:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error


def check(folder: Path, settings: Mapping[str, Any], *, command: str, force: bool) -> None:
    """Raise what `claim` would for the `settings` known so far, before any work; change nothing."""
    require_writable(folder)
    wanted = json.loads(json.dumps({"command": command, **settings}))
    known = _known(folder, command)
    if not force:
        _refuse_others(folder, known, wanted, keys=wanted)


def _known(folder: Path, command: str) -> dict[str, Any] | None:
    """The settings of an earlier run of `command` in `folder`, None where there is nothing."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"'{folder}' exists and is not a directory", hint="choose another name")
    try:
        if not folder.exists() or not any(folder.iterdir()):
            return None
    except OSError as error:
        raise LoadError(f"cannot read the directory '{folder}': {error.strerror}") from error
    known = _read(folder / SETTINGS)
    if known is None or known.get("command") != command:
        raise ConfigError(
            f"the directory '{folder}' is not empty and holds no results of convsnn {command}",
            hint="choose another name, or remove the directory yourself",
        )
    return known


def _refuse_others(
    folder: Path,
    known: Mapping[str, Any] | None,
    wanted: Mapping[str, Any],
    *,
    keys: Iterable[str],
) -> None:
    if known is None:
        return
    changed = [
        f"{key}: {_short(known.get(key))} there, {_short(wanted.get(key))} now"
        for key in dict.fromkeys(keys)
        if known.get(key) != wanted.get(key)
    ]
    if changed:
        raise ConfigError(
            f"'{folder}' holds results of other settings ({'; '.join(changed)})",
            hint="choose another directory, or make them anew in this one with --force",
        )


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
