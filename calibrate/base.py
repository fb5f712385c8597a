"""The registry of calibration stages, and the text they are written as.

Stages chain with `+`: `mse:steps=8+...`; each gets the plan of the one before. One that sets every
threshold anew stands first: behind others it would throw their work away.
"""

from convsnn.errors import ConfigError
from convsnn.registry import Registry
from convsnn.spiking.plan import Context, Plan, Stage

__all__ = [
    "CALIBRATORS",
    "Context",
    "Plan",
    "SetsThresholds",
    "Stage",
    "check_potential",
    "parse_stages",
    "plugins_of",
]

CALIBRATORS: Registry[Stage] = Registry("calibration stage")


class SetsThresholds:
    """What stages are that set all thresholds from the network alone, whatever the plan was."""


def check_potential(potential: float) -> None:
    """Raise ValueError for an initial potential that is no part of the threshold.

    Neurons that start above it send a spike for nothing; below its negative they are silent.
    """
    if not -1 <= potential <= 1:
        raise ValueError(f"potential is a fraction of the threshold in [-1, 1], not {potential}")


def parse_stages(text: str) -> tuple[Stage, ...]:
    """`percentile:q=99.9,potential=0+bias` as stages; ConfigError names what is unknown."""
    parts = [part.strip() for part in text.split("+")]
    if not all(parts):
        raise ConfigError(
            f"'{text}' has an empty stage", hint=f"known stages: {', '.join(CALIBRATORS.names())}"
        )
    stages = tuple(CALIBRATORS.create(part) for part in parts)
    for place, stage in enumerate(stages):
        if place and isinstance(stage, SetsThresholds):
            before = "+".join(parts[:place])
            raise ConfigError(
                f"'{text}': {parts[place]} sets all thresholds anew, so {before} before it would "
                "do nothing",
                hint=f"leave out what stands before {parts[place]}",
            )
    return stages


def plugins_of(text: str) -> set[str]:
    """The plug-ins that stages written as `text` come from."""
    found = {CALIBRATORS.plugin(part.strip()) for part in text.split("+")}
    return {plugin for plugin in found if plugin is not None}
