"""Data that a text names: whether there is a text, whose it is, and the shape of its samples."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convsnn.errors import ConfigError, LoadError
from zoo.data import DATASETS, holds_events, sample_shape


def require_data(spec: str | None, model: str) -> str:
    """The data spec, or ConfigError with the choices where neither user nor model names one."""
    if spec is None:
        path = Path(model)
        beside = (
            f", or put {path.stem}.data.json beside the file, "
            'holding {"data": "npz:train.npz,test.npz", "preprocessing": {"mean": [0.5]}}'
        )
        raise ConfigError(
            f"'{model}' does not say which data it was trained on",
            hint=f"name the data with --data ({', '.join(DATASETS.names())}), for example "
            f"--data npz:train.npz,test.npz{beside if path.suffix == '.onnx' else ''}",
        )
    return spec


@contextmanager
def named_in(place: str, *, hint: str = "") -> Iterator[None]:
    """Let errors of data that the user did not type say the place that names it; with `hint`, which
    a missing or damaged file then gets. An empty place changes nothing."""
    try:
        yield
    except (ConfigError, LoadError) as error:
        if not place:
            raise
        better = hint if hint and isinstance(error, LoadError) else error.hint
        raise type(error)(f"{error} (this data is named in {place})", hint=better) from None


def require_events(spec: str) -> None:
    """ConfigError where the data set holds no recordings, of which frames could be made."""
    if not holds_events(spec):
        raise ConfigError(
            f"'{spec}' holds no events that could be made frames of",
            hint="leave out --frames-by and --frame-value",
        )


def natural_shape(spec: str, resize: tuple[int, ...] | None) -> tuple[int, ...]:
    """Shape of one sample as the data set stores it, channels first, or as `resize` makes it."""
    shape = sample_shape(spec)
    return (shape[0], *resize) if resize is not None and len(resize) == 2 else shape
