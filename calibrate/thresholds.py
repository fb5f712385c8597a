"""From a value per layer or channel to a site's plan: guard, ceiling, initial potential."""

import torch
from torch import Tensor

from calibrate.statistics import SILENT
from convsnn.graph import Site
from convsnn.spiking.plan import SitePlan


def guarded(values: Tensor, tops: Tensor) -> Tensor:
    """`values` (C,) with those of silent channels replaced by the largest of the layer.

    A channel that never spoke on the calibration images would get a threshold near zero and fire
    at every rounding error (Channel-Norm's authors leave that open).
    """
    silent = tops <= SILENT * tops.max()
    return torch.where(silent, values[~silent].max(), values)


def site_plan(site: Site, values: Tensor, potential: float, like: Tensor) -> SitePlan:
    """Thresholds `values`, (C,) or (1,), at most the site's ceiling, and the initial potential.

    `potential` is a fraction of the threshold; the result has the float type of `like`. Where the
    network was trained with a staircase, its ceiling and shift are taken, whatever is asked for.
    """
    if site.levels is not None and site.ceiling is not None:
        values, potential = torch.full_like(values, site.ceiling)[:1], site.shift
    if site.ceiling is not None:
        values = values.clamp(max=site.ceiling)
    values = values.to(like.dtype)
    threshold = values[0] if values.numel() == 1 else site.per_channel(values)
    return SitePlan(threshold, threshold * potential)
