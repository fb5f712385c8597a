"""What an estimate of energy needs beside the run: sets of constants, and networks with few bits,
calibrated on the same images and scored on the same ones."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from calibrate.bit_matched import levels, quantised
from convsnn.errors import CalibrationError, ConfigError, UnsupportedError
from convsnn.measure import Evaluation
from convsnn.measure.energy import Asked, Constants, given_constants, load_constants
from convsnn.measure.energy.estimate import WIDEST, bits_for
from convsnn.measure.fitting import Batches
from convsnn.measure.quantised import Quantised, score_quantised
from convsnn.measure.sharing import Share
from convsnn.simulate import Engine
from convsnn.spiking.network import Spiking
from convsnn.workflows.running.batch import note_smaller_batch
from convsnn.workflows.running.voice import progress
from convsnn.workflows.subject.images import Chosen, describe_part
from convsnn.workflows.subject.origin import was_converted
from zoo.data import stills

INT8 = "int8"


@dataclass(frozen=True)
class Pricing:
    """`sets` of constants (None: all that are known), and the `calibration` images of networks
    with quantised values (None: these are not scored)."""

    sets: tuple[Constants, ...] | None = None
    calibration: Callable[[], Chosen] | None = None

    def asked(self, engine: Engine) -> Asked:
        """What the estimate rests on, of a network simulated by `engine`.

        Of the known sets those that can price it; ConfigError where the user's own cannot.
        """
        bits = engine.bits
        width = bits or (16 if engine.precision == "bfloat16" else 32)
        self.require(floats=bits is None)
        known = Asked().sets if self.sets is None else self.sets
        sets = tuple(one for one in known if bits is not None or one.knows_floats)
        return Asked(sets, weight_bits=width, floats=bits is None)

    def require(self, *, floats: bool) -> None:
        """ConfigError where a set that was asked for cannot price floats, and has to."""
        without = [one.name for one in self.sets or () if not one.knows_floats]
        if floats and without:
            raise ConfigError(
                f"the constants of {', '.join(without)} are for whole numbers, but the network is "
                "simulated with weights that are floats",
                hint="add --weight-bits 8 or --precision int8, or give a set with add_float and "
                "multiply_float",
            )

    def scored(
        self,
        net: Spiking,
        evaluation: Evaluation,
        batches: Batches,
        engine: Engine,
        *,
        share: Share,
        device: torch.device,
        images: int,
    ) -> dict[str, Any] | None:
        """Scores of the networks with quantised values on `batches`, of which there are `images`;
        None where nothing is scored."""
        moves = net.encoder.steps is not None
        if self.calibration is None or (moves and not was_converted(net)):
            return None
        if share.agree([int(bool(evaluation.scores))])[0] == 0:
            return None
        chosen, steps = self.calibration(), evaluation.activity.at
        widths = sorted({*map(bits_for, steps), WIDEST})
        origin = describe_part(chosen.part, len(chosen.indices))
        (size,) = share.agree([chosen.batch_size])
        chosen = replace(chosen, batch_size=size, part=stills(chosen.part))
        batches = ((net.encoder.still(x), y) for x, y in batches) if moves else batches
        try:
            made = quantised(net.graph.to(device=device), chosen, widths, share=share)
        except (CalibrationError, UnsupportedError) as error:
            return {"calibration": origin, "failed": str(error)}
        networks = {str(b): Quantised(made[b], levels(b), engine.bits) for b in widths}
        networks[INT8] = Quantised(made[WIDEST], levels(WIDEST), 8)
        matched = {str(bits_for(step)) for step in steps}
        wanted = {name: one for name, one in networks.items() if name in {*matched, INT8}}
        with progress("scoring networks with few bits", images) as advance:
            scores = score_quantised(
                wanted,
                batches,
                evaluation.task,
                device=device,
                share=share,
                shrunk=note_smaller_batch,
                progress=advance,
            )
        int8 = scores.pop(INT8)
        return {
            "metric": evaluation.task.headline,
            "calibration": origin,
            INT8: int8,
            "bits": dict(scores),
        }


def chosen_sets(
    text: str | None, mac_pj: float | None, ac_pj: float | None
) -> tuple[Constants, ...] | None:
    """The sets that `--energy`, `--mac-pj` and `--ac-pj` ask for; None for all that are known."""
    if text is not None and (mac_pj is not None or ac_pj is not None):
        raise ConfigError(
            "--energy names a whole set of constants, so --mac-pj and --ac-pj would do nothing",
            hint="give one or the other",
        )
    if (mac_pj is None) != (ac_pj is None):
        raise ConfigError(
            "--mac-pj and --ac-pj go together: a multiply-accumulate, and an addition",
            hint="like --mac-pj 4.6 --ac-pj 0.9",
        )
    if mac_pj is not None and ac_pj is not None:
        return (given_constants(mac_pj, ac_pj),)
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if len(set(names)) != len(names) or not all(names):
        raise ConfigError(f"--energy {text} names a set twice, or none", hint="like horowitz45")
    sets = tuple(load_constants(name) for name in names)
    if len({one.name for one in sets}) != len(sets):
        raise ConfigError(f"--energy {text}: two sets have the same name", hint="rename one")
    return sets
