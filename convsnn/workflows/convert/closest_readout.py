"""The readout that comes closest to the original network at every number of steps.

Which one that is depends on the network: where spikes go through many layers, most errors are made
at the start and a rising readout forgets them; where they go through few, it only makes the answer
coarser. Chosen by outputs alone, without labels, on the last of the calibration images, which no
stage fits weights to unless there are hardly more.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from convsnn.errors import CalibrationError, ConfigError
from convsnn.graph import run
from convsnn.readouts import READOUTS, delayed
from convsnn.report.page.summary import shown_steps
from convsnn.simulate import Program, read_out
from convsnn.spiking.network import Spiking
from convsnn.spiking.sharing import ALONE, Share, own_batches
from convsnn.workflows.running.voice import progress

READOUTS_TRIED = ("mean", "rising", "rising:power=2")
SAMPLES = 64
PIECE = 16  # images that are run at once, where batches are no smaller
LONGEST = 32  # steps that are simulated; behind them the readouts come together
EXACT = 1e-6  # a distance below it is rounding


def with_closest_readout(
    net: Spiking, batches: Iterable[Tensor], *, steps: int, share: Share = ALONE
) -> Spiking:
    """`net` with that one of `READOUTS_TRIED`, behind the delay that it has, which is closest to
    the original after 1, 2, 4... up to `steps` steps, and all distances on record.

    Close is a small geometric mean of the distances; of equals it is `mean`. Of several processes
    each takes a `share` of the images. Raises ConfigError where the delay leaves no step,
    CalibrationError without images.
    """
    delay = READOUTS.create(net.readout).delay
    if delay >= steps:
        raise ConfigError(f"a readout with delay={delay} leaves nothing of {steps} time steps")
    at = [t for t in shown_steps(min(steps, delay + LONGEST)) if t > delay]
    kept = _last(batches, SAMPLES)
    images = torch.cat(kept).split(min(PIECE, max(map(len, kept))))
    specs = [delayed(spec, delay) for spec in READOUTS_TRIED]
    distances = _distances(net, specs, images, at, share)
    found = dict(zip(specs, distances, strict=True))
    chosen = min(found, key=lambda spec: found[spec])  # the first of equals
    record = {"stage": "readout", "chosen": chosen, "distance": found}
    return replace(net, readout=chosen, plan=net.plan.with_sites({}, record))


def _last(batches: Iterable[Tensor], count: int) -> list[Tensor]:
    """The last `count` images, in batches; no more than these are held at any time."""
    kept: deque[Tensor] = deque()
    for batch in batches:
        kept.append(batch)
        while sum(map(len, kept)) - len(kept[0]) >= count:
            kept.popleft()
    if not kept:
        raise CalibrationError("there are no calibration images to choose a readout by")
    kept[0] = kept[0][max(0, sum(map(len, kept)) - count) :]
    return list(kept)


def _distances(
    net: Spiking, specs: Sequence[str], images: Sequence[Tensor], at: list[int], share: Share
) -> list[float]:
    """With each readout of `specs` the distance of the outputs to the original's over their size
    (root mean squares), its geometric mean over the steps `at` and the outputs."""
    count, readouts = len(net.graph.outputs), [READOUTS.create(spec) for spec in specs]
    wrong = torch.zeros(len(images), len(specs), len(at), count, dtype=torch.float64)
    size = torch.zeros(len(images), 1, 1, count, dtype=torch.float64)
    program = Program(net)
    with progress("choosing the readout", len(images)) as advance:
        for first, x in own_batches(share, images):
            piece = first // len(images[0])
            ids = torch.arange(first, first + len(x), device=x.device)
            found = read_out(program, x, steps=max(at), readouts=readouts, ids=ids)
            answers = run(net.graph, net.encoder.still(x))
            for place, name in enumerate(net.graph.outputs):
                wanted = answers[name]
                size[piece, :, :, place] = wanted.double().square().sum()
                for number, outputs in enumerate(found):
                    for row, step in enumerate(at):
                        gap = (outputs[place][step - 1] - wanted).double()
                        wrong[piece, number, row, place] = gap.square().sum()
            advance(piece + 1)
    # added up when all are there, in one order, whoever has run them
    wrong, size = share.add(wrong).sum(0), share.add(size).sum(0)
    relative = (wrong / size.clamp(min=torch.finfo(size.dtype).tiny)).sqrt()
    means: list[float] = relative.clamp(min=EXACT).log().mean((1, 2)).exp().tolist()
    return means
