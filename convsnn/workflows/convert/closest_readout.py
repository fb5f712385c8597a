"""The readout that comes closest to the original network at every number of steps.

Which one that is depends on the network: where spikes go through many layers, most errors are made
at the start and a rising readout forgets them; where they go through few, it only makes the answer
coarser. Chosen by outputs alone, without labels, on the last of the calibration images, which no
stage fits weights to unless there are hardly more.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from convsnn.errors import CalibrationError, ConfigError
from convsnn.graph import run
from convsnn.readouts import READOUTS, delayed
from convsnn.report.page.summary import shown_steps
from convsnn.simulate import Program, simulate
from convsnn.spiking.network import Spiking
from convsnn.spiking.sharing import ALONE, Share, own_batches
from convsnn.workflows.running.voice import progress

SAMPLES = 64
PIECE = 16  # images that are run at once, where batches are no smaller
LONGEST = 32  # steps that are simulated; behind them the readouts come together
EXACT = 1e-6  # a distance below it is rounding


def with_closest_readout(
    net: Spiking, batches: Iterable[Tensor], *, steps: int, share: Share = ALONE
) -> Spiking:
    """`net` with the readout `mean` or `rising`, behind the delay that it has, whichever is closer
    to the original after 1, 2, 4... up to `steps` steps, and both distances on record.

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
    specs = delayed("mean", delay), delayed("rising", delay)
    with progress("choosing the readout", len(specs) * len(images)) as advance:
        found = {}
        for number, spec in enumerate(specs):
            told = partial(_told, advance, number * len(images))
            found[spec] = _distance(replace(net, readout=spec), images, at, share, progress=told)
    chosen = min(found, key=lambda spec: found[spec])  # the first of equals
    record = {"stage": "readout", "chosen": chosen, "distance": found}
    return replace(net, readout=chosen, plan=net.plan.with_sites({}, record))


def _told(advance: Callable[[int], None], before: int, done: int) -> None:
    advance(before + done)


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


def _distance(
    net: Spiking,
    images: Sequence[Tensor],
    at: list[int],
    share: Share,
    *,
    progress: Callable[[int], None],
) -> float:
    """The distance of the outputs to the original's over their size (root mean squares), its
    geometric mean over the steps `at` and the outputs. `progress(pieces done)` is told of each."""
    count = len(net.graph.outputs)
    pieces = len(images)
    wrong, size = (torch.zeros(pieces, n, count, dtype=torch.float64) for n in (len(at), 1))
    program = Program(net)
    for first, x in own_batches(share, images):
        piece = first // len(images[0])
        ids = torch.arange(first, first + len(x), device=x.device)
        got = simulate(program, x, steps=max(at), ids=ids, count=False).outputs
        answers = run(net.graph, net.encoder.still(x))
        for place, (output, name) in enumerate(zip(got, net.graph.outputs, strict=True)):
            wanted = answers[name]
            size[piece, 0, place] = wanted.double().square().sum()
            for row, step in enumerate(at):
                wrong[piece, row, place] = (output[step - 1] - wanted).double().square().sum()
        progress(piece + 1)
    # added up when all are there, in one order, whoever has run them
    wrong, size = share.add(wrong).sum(0), share.add(size).sum(0)
    relative = (wrong / size.clamp(min=torch.finfo(size.dtype).tiny)).sqrt()
    return float(relative.clamp(min=EXACT).log().mean().exp())
