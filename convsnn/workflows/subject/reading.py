"""A model and its data as verbs take them from Python: how both are read, in plain keywords."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from convsnn.errors import ConfigError
from convsnn.workflows.running.keywords import options_of, require_known
from convsnn.workflows.running.precision import Asked, Wanted
from convsnn.workflows.subject.given import Images
from convsnn.workflows.subject.job import Job
from convsnn.workflows.subject.opening import Opening, Subject

_UNTOLD = (
    "give test=(images, labels), as the network takes them, or a text that names them; images "
    "that it is calibrated on say nothing of others"
)


class Reading(TypedDict, total=False):
    """How a model and its data are read, each as in `convsnn.convert`."""

    weights: str | Path | None
    input_shape: Sequence[int] | None
    answer: str | None
    task: str | None
    preprocessing: Mapping[str, Any] | None
    calibration_samples: int
    batch_size: int | None
    seed: int
    device: str
    precision: Asked
    weight_bits: int | None
    compile: bool | None
    verify: bool


def subject_of(
    verb: Callable[..., Any],
    subject: Subject,
    data: Images | str | None = None,
    test: Images | str | None = None,
    *,
    reading: Mapping[str, Any],
    scores: bool = True,
) -> Job | Opening:
    """What `verb` is asked about: a model with its data, or what is one or open as it is.

    Images given as `data` are calibrated on; a verb that `scores` needs `test` beside them.
    TypeError for a keyword that `Reading` does not have, ConfigError where `test` is missing, and
    where an `Opening` is given that says all of it itself.
    """
    name_of = verb.__name__
    require_known(name_of, reading, [*options_of(verb), *Reading.__annotations__])
    told = [name for name, value in (("data", data), ("test", test)) if value is not None]
    told += [name for name, value in reading.items() if value is not None]
    if isinstance(subject, Job | Opening):
        if told:
            raise ConfigError(
                f"{name_of}() was given {', '.join(told)} beside a subject that says itself "
                "how it is read",
                hint="give the model in its place, or say it in the Opening",
            )
        return subject
    if scores and not (data is None or isinstance(data, str)) and test is None:
        raise ConfigError(f"{name_of}() was not told which images to score", hint=_UNTOLD)
    rest = {name: value for name, value in reading.items() if value is not None}
    wanted = {name: rest.pop(name) for name in tuple(vars(Wanted())) if name in rest}
    return Opening(subject, data=data, test=test, wanted=Wanted(**wanted), **rest)
