"""`SNN.finetune`: a network held in Python, trained on its own data or on images given there."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from convsnn.errors import ConfigError
from convsnn.report.files import ResultDirectory
from convsnn.spiking.network import Spiking
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.finetune.asked import asked_for
from convsnn.workflows.finetune.network import finetune_network
from convsnn.workflows.finetune.saved import Finetuned, finetune_opened
from convsnn.workflows.running.processes import leaving_together
from convsnn.workflows.subject.class_names import stored_names
from convsnn.workflows.subject.given import Images
from convsnn.workflows.subject.saved import Saved, data_of
from convsnn.workflows.train.lessons import checkpoints_of, claim
from zoo.data import DataSet, Preprocessing, data_place


def finetune_given(
    net: Spiking,
    train: Images | str | None,
    timesteps: int,
    *,
    preprocessing: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Spiking:
    """`net` trained as `options` say (see `asked_for`), neither scored nor written."""
    asked = asked_for(timesteps, options, writes=False)
    data, settings = data_of(net, train, preprocessing)
    tuned = finetune_network(net, data.train, asked).net
    return replace(tuned, provenance={**tuned.provenance, **_origin(train, settings)})


def finetune_into(
    folder: Path,
    net: Spiking,
    train: Images | str | None,
    timesteps: int,
    *,
    test: Images | str | None,
    preprocessing: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Finetuned:
    """The same, scored before and after on `test` (None: the test part of the data) and written to
    `folder` as `convsnn finetune` does.

    ConfigError where images are given to train on and none to score, or the folder is taken.
    """
    asked = asked_for(timesteps, options, writes=True)
    samples, resume = options.get("samples"), bool(options.get("resume", False))
    force = bool(options.get("force", False))
    with leaving_together():
        ResultDirectory(folder, force=force).check()
        checkpoints = checkpoints_of(folder)
        claim(checkpoints, resume=resume, force=force)
        data, settings = _data(net, train, test, preprocessing)
        scoring.require_scores(
            None,
            data,
            net.graph,
            task=net.provenance.get("task"),
            names=stored_names(net.provenance),
        )
        if samples is None and test is not None and not isinstance(test, str):
            samples = len(data.test)  # all that were given
        return finetune_opened(
            Saved(net, net.provenance, data, settings.to_json()),
            asked,
            folder,
            origin=_origin(train, settings),
            samples=samples,
            resume=resume,
            force=force,
        )


def _data(
    net: Spiking,
    train: Images | str | None,
    test: Images | str | None,
    preprocessing: Mapping[str, Any],
) -> tuple[DataSet, Preprocessing]:
    if test is None and not (train is None or isinstance(train, str)):
        raise ConfigError(
            "finetune() was told where to write scores, and not which images to score",
            hint="give test=(images, labels), others than those it trains on, or leave folder out",
        )
    data, settings = data_of(net, train, preprocessing)
    if test is not None:
        scored, _ = data_of(net, test, preprocessing)
        data = replace(scored, train=data.train)
    return data, settings


def _origin(train: Images | str | None, settings: Preprocessing) -> dict[str, Any]:
    """What the trained network says of the data it is scored on again."""
    known: dict[str, Any] = {"preprocessing": settings.to_json()}
    if train is not None:
        known["data"] = train if isinstance(train, str) else None
        known |= data_place(known["data"])
    return known
