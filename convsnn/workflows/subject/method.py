"""How to convert, as the user wrote it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from calibrate import parse_stages, plugins_of
from calibrate.defaults import default_stages
from calibrate.fits import Fit, as_if_fitted, require_if
from convsnn.encoders import ENCODERS
from convsnn.errors import ConfigError
from convsnn.graph import Graph
from convsnn.neurons import NEURONS
from convsnn.readouts import READOUTS
from convsnn.spiking.kinds import refused_roles
from convsnn.spiking.plan import Stage
from convsnn.spiking.schedule import as_schedule, default_schedule, require_patient
from zoo.data import Part


@dataclass(frozen=True)
class Method:
    """How to convert, as the user wrote it; ConfigError where a part is unknown.

    `given` are stages that came as objects, which `calibrate` then only describes; `spikes` bounds
    the kind of network (see `convsnn.spiking.kinds`); `left` names what the user left open, of
    `calibrate`, `encoder` and `schedule`; `fit` are the functions that neurons stand for.
    """

    calibrate: str
    neuron: str = "if"
    encoder: str = "direct"
    max_pool: Literal["exact", "current"] = "exact"
    readout: str = "mean"
    given: tuple[Stage, ...] | None = None
    schedule: str = "steps"
    spikes: str = "any"
    left: frozenset[str] = frozenset()
    fit: tuple[Fit, ...] = ()

    def __post_init__(self) -> None:
        self.stages()
        NEURONS.create(self.neuron, threshold=1.0)
        ENCODERS.create(self.encoder)
        READOUTS.create(self.readout)
        refused_roles(self.spikes)
        require_if(self.fit, self.neuron)
        if as_schedule(self.schedule) == "layers":
            require_patient(self.neuron)

    def settled(self, graph: Graph) -> "Method":
        """What was left open, as a network with functions or products wants it."""
        if not as_if_fitted(graph, self.fit).smooth:
            return self
        schedule = self.schedule
        if "schedule" in self.left:
            schedule = default_schedule(self.neuron, smooth=True)
        calibrate = self.calibrate
        if "calibrate" in self.left:
            calibrate = default_stages(self.neuron, schedule, smooth=True)
        left: frozenset[str] = frozenset()
        return replace(self, schedule=schedule, calibrate=calibrate, left=left)

    @property
    def frames(self) -> int | None:
        """How many frames of a sequence its encoder takes, where it says so."""
        return ENCODERS.create(self.encoder).steps

    @property
    def still(self) -> bool | None:
        """Whether images are asked for, of sequences the mean frames; None where nobody says."""
        return None if "encoder" in self.left else self.frames is None

    def on(self, part: Part, steps: int) -> "Method":
        """The same for the samples of `part`: sequences are shown frame by frame, unless images
        were asked for. ConfigError where the encoder takes none, or `steps` frames are not there.
        """
        frames = part.steps
        if frames is None:
            if self.frames is not None:
                raise ConfigError(
                    f"'{self.encoder}' shows sequences, and {part.source} holds images",
                    hint="use --encoder direct, or give events or frames with --data",
                )
            return self
        encoder = f"frames:steps={frames}" if self.encoder == "direct" else self.encoder
        if ENCODERS.create(encoder).steps is None:
            raise ConfigError(
                f"'{encoder}' shows images, and {part.source} holds sequences",
                hint="use --encoder frames, or give images with --data",
            )
        if not ENCODERS.create(encoder).steps == frames == steps:
            raise ConfigError(
                f"{part.source} makes sequences of {frames} frames, but '{encoder}' input of "
                f"{steps} time steps was asked for",
                hint="use as many frames as there are --timesteps",
            )
        return replace(self, encoder=encoder)

    def stages(self) -> Sequence[Stage]:
        """The calibration stages."""
        return parse_stages(self.calibrate) if self.given is None else self.given

    def to_json(self) -> dict[str, Any]:
        """As the report names it."""
        stages = plugins_of(self.calibrate) if self.given is None else set()
        others = {
            NEURONS.plugin(self.neuron),
            ENCODERS.plugin(self.encoder),
            READOUTS.plugin(self.readout),
        }
        plugins = sorted(name for name in stages | others if name is not None)
        return {
            "calibration": self.calibrate,
            "neuron": self.neuron,
            "encoder": self.encoder,
            "max_pool": self.max_pool,
            "readout": self.readout,
            "schedule": self.schedule,
            **({"spikes": self.spikes} if self.spikes != "any" else {}),
            **({"fit": ",".join(map(str, self.fit))} if self.fit else {}),
            **({"plugins": plugins} if plugins else {}),
        }
