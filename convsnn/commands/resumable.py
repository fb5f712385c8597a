"""A result directory that an interrupted command goes on in: it says first what it is made with."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convsnn.commands.job import Job
from convsnn.errors import ConfigError, ExportError
from convsnn.report.assemble import versions
from convsnn.report.files import write_text

SETTINGS = "settings.json"


def fingerprint(*parts: object) -> str:
    """A digest of plain values; equal values give the same one in every process."""
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def job_settings(job: Job, *, steps: int) -> dict[str, Any]:
    """What a result depends on beside the method and the test images.

    Data sets are known by their name, their size and the first images that are used.
    """
    return {
        "model": job.source.text,
        "sha256": job.source.sha256,
        "data": job.spec,
        "preprocessing": job.preprocessing,
        "calibration_samples": len(job.images.indices),
        "training_digest": fingerprint(
            job.example.cpu().numpy().tobytes().hex(), len(job.images.part)
        ),
        "timesteps": steps,
        "seed": job.seed,
        "batch_size": job.batch_size,
        "device": str(job.device),
        "versions": {name: versions()[name] for name in ("convsnn", "torch")},
    }


def claim(folder: Path, settings: Mapping[str, Any], *, command: str, force: bool) -> bool:
    """Make `folder` the place of these results; whether what stands in it may be gone on with.

    A directory of the same command and settings is gone on with. One of other settings is refused
    with ConfigError that names them, or with `force` taken over: the caller makes its results
    anew. A directory that is neither empty nor of this command is always refused.
    """
    wanted = json.loads(json.dumps({"command": command, **settings}))
    known = check(folder, wanted, force=force)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(
            f"cannot write the directory '{folder}': {error.strerror or error}",
            hint="name a directory that does not exist yet, on a disk that can be written",
        ) from error
    if known != wanted:
        write_text(folder / SETTINGS, json.dumps(wanted, indent=2) + "\n")
    return known == wanted


def check(folder: Path, wanted: Mapping[str, Any], *, force: bool) -> dict[str, Any] | None:
    """The settings of an earlier run in `folder`, None where there is none; see `claim`."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"'{folder}' exists and is not a directory", hint="choose another name")
    if not folder.exists() or not any(folder.iterdir()):
        return None
    known = _read(folder / SETTINGS)
    if known is None or known.get("command") != wanted["command"]:
        raise ConfigError(
            f"the directory '{folder}' is not empty and holds no results of convsnn "
            f"{wanted['command']}",
            hint="choose another name, or remove the directory yourself",
        )
    changed = [
        f"{key}: {_short(known.get(key))} there, {_short(wanted.get(key))} now"
        for key in dict.fromkeys([*wanted, *known])
        if known.get(key) != wanted.get(key)
    ]
    if changed and not force:
        raise ConfigError(
            f"'{folder}' holds results of other settings ({'; '.join(changed)})",
            hint="choose another directory, or make them anew in this one with --force",
        )
    return known


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
