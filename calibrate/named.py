"""What is known of a method of conversion that has a name: how to run it, and what kind it is."""

from dataclasses import dataclass, field
from typing import Literal

from calibrate.published import Published
from convsnn.readouts import READOUTS

LONGEST = 32  # steps a method is calibrated for at most: its stages simulate every layer


Spikes = Literal["binary", "graded", "signed"]


def kind_in_words(
    spikes: Spikes,
    *,
    trained: bool,
    labels: bool = False,
    rebuilt: bool = False,
    delay: int = 0,
    schedule: str = "steps",
) -> str:
    """What is sent, whether it was trained and with labels, whether the method was rebuilt from
    its description, and how many steps are no answer."""
    training = "trained" if trained else "training-free"
    used = ", uses labels" if labels else ""
    late = f", {delay} delay step{'s' if delay > 1 else ''}" if delay else ""
    again = ", reconstruction" if rebuilt else ""
    fires = ", layer by layer" if schedule == "layers" else ""
    return f"{spikes} spikes, {training}{used}{again}{late}{fires}"


@dataclass(frozen=True)
class NamedMethod:
    """One method: how to run it, what kind it is, and how it differs from what was published.

    `calibrate` may hold `{steps}`, for the number of steps to calibrate for, or `{few}`, for the
    same but at most LONGEST where a stage simulates them. `spikes` says what a neuron can send: one
    value, several, or both signs. `readout` is how its steps become one answer. `differs` says what
    the authors do otherwise, and `published` what they report; `reconstruction` that the text was
    too short to follow, and no code is public.
    """

    name: str
    title: str
    calibrate: str
    neuron: str = "if"
    encoder: str = "direct"
    spikes: Spikes = "binary"
    trained: bool = False
    labels: bool = False
    reconstruction: bool = False
    readout: str = "mean"
    schedule: Literal["steps", "layers"] = "steps"
    source: str = ""
    note: str = ""
    differs: str = ""
    published: tuple[Published, ...] = field(default=(), repr=False)

    def stages(self, steps: int) -> str:
        """The calibration text for a conversion to `steps` time steps."""
        few = str(min(steps, LONGEST))
        return self.calibrate.replace("{steps}", str(steps)).replace("{few}", few)

    @property
    def for_one_number(self) -> bool:
        """Whether its thresholds belong to the number of steps that they were made for."""
        return "{" in self.calibrate

    def reading(self, steps: int) -> str:
        """The readout for a conversion to `steps` time steps."""
        return self.readout.replace("{delay}", str(min(8, steps // 4)))

    def delay(self, steps: int) -> int:
        """Steps before the readout begins, which count in T."""
        return READOUTS.create(self.reading(steps)).delay

    @property
    def kind(self) -> str:
        """What it sends, whether it trains, uses labels or is a reconstruction, in words."""
        return kind_in_words(
            self.spikes,
            trained=self.trained,
            labels=self.labels,
            rebuilt=self.reconstruction,
            schedule=self.schedule,
        )
