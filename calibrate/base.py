"""The registry of calibration stages, and the text they are written as.

Stages chain with `+`: `mse:steps=8+...`; each gets the plan of the one before.
"""

from convsnn.errors import ConfigError
from convsnn.registry import Registry
from convsnn.spiking.plan import Context, Plan, Stage

__all__ = ["CALIBRATORS", "Context", "Plan", "Stage", "parse_stages", "plugins_of"]

CALIBRATORS: Registry[Stage] = Registry("calibration stage")


def parse_stages(text: str) -> tuple[Stage, ...]:
    """`percentile:q=99.9,potential=0+bias` as stages; ConfigError names what is unknown."""
    parts = [part.strip() for part in text.split("+")]
    if not all(parts):
        raise ConfigError(
            f"'{text}' has an empty stage", hint=f"known stages: {', '.join(CALIBRATORS.names())}"
        )
    return tuple(CALIBRATORS.create(part) for part in parts)


def plugins_of(text: str) -> set[str]:
    """The plug-ins that stages written as `text` come from."""
    found = {CALIBRATORS.plugin(part.strip()) for part in text.split("+")}
    return {plugin for plugin in found if plugin is not None}
