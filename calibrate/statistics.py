"""Streaming statistics of activations: memory does not grow with the number of images.

Maxima take one pass; histograms take a second one, with bins between zero and the maximum found.
Counts are whole numbers and maxima do not round, so the number of processes that share the images
changes nothing, nor does the batch size unless only some values of each batch are counted (`most`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from calibrate.base import Context
from convsnn.errors import CalibrationError
from convsnn.graph import Node, Site, run
from convsnn.graph.ops import Role

SILENT = 1e-6  # of the layer's largest activation: a channel below it never speaks


def by_channel(site: Site, value: Tensor) -> Tensor:
    """Activations (B, *shape) of a site as (C, everything else)."""
    if not site.shape:
        return value.reshape(1, -1)
    return value.movedim(site.channel_axis + 1, 0).reshape(site.channels, -1)


def sizes(site: Site, value: Tensor) -> Tensor:
    """What a threshold is measured against: activations, without their sign where they have one."""
    return value.abs() if site.signed else value


def maxima(context: Context) -> dict[str, Tensor]:
    """The largest activation (in size, where it has a sign) of every channel of every site, (C,).

    Where the network was trained with a staircase, this is its ceiling, whatever the images.
    Raises CalibrationError where a layer is silent on all images or not finite.
    """
    found: dict[str, Tensor] = {}

    def watch(node: Node, value: Tensor) -> None:
        if node.role is Role.ACTIVATION:
            site = context.graph.sites[node.name]
            top = sizes(site, by_channel(site, value)).amax(1)
            if site.levels is not None and site.ceiling is not None:
                top = torch.full_like(top, site.ceiling)
            found[node.name] = torch.maximum(found.get(node.name, top), top)

    run_all(context, context.some(), watch)
    found = {name: largest_of_all(context, top) for name, top in found.items()}
    for name, top in found.items():
        if not bool(top.isfinite().all()):
            raise CalibrationError(
                f"layer '{name}': its activation is not finite on the calibration images",
                hint="check the weights and the scale of the images (--scale, --mean, --std)",
            )
        if float(top.max()) <= 0:
            raise CalibrationError(
                f"layer '{name}' is silent on all calibration images, so its threshold would be "
                "zero",
                hint="use more calibration images, or check their scale (--scale, --mean, --std)",
            )
    return found


def largest_of_all(context: Context, found: Tensor) -> Tensor:
    """The largest that any process has `found`, element by element; infinite where any has found
    what is not finite, which a maximum over processes would lose."""
    if context.share.count == 1:
        return found
    return context.share.most(torch.where(found.isfinite(), found, torch.inf))


@dataclass(frozen=True)
class Histogram:
    """Counts of activations, by size, in equal bins of (0, top], and of zeros; one row per channel.

    `top` (R,), `zeros` (R,), `counts` (R, bins); R is the number of channels, or 1 for a layer.
    """

    top: Tensor
    zeros: Tensor
    counts: Tensor

    @property
    def values(self) -> Tensor:
        """The upper edge of every bin, (R, bins)."""
        bins = self.counts.shape[1]
        edges = torch.arange(1, bins + 1, dtype=torch.float64, device=self.top.device) / bins
        return self.top.double()[:, None] * edges

    def quantile(self, q: float, *, nonzero: bool = False) -> Tensor:
        """The value at index int(n q / 100) - 1 of the n sorted activations, (R,), rounded up
        to a bin's edge; with `nonzero` of the positive ones only (snn_toolbox does so)."""
        counts = self.counts if nonzero else torch.cat([self.zeros[:, None], self.counts], 1)
        values = self.values
        if not nonzero:
            values = torch.cat([torch.zeros_like(values[:, :1]), values], 1)
        total = counts.sum(1, keepdim=True)
        rank = (total.double() * q / 100).floor().long().clamp(min=1)
        index = torch.searchsorted(counts.cumsum(1), rank).clamp(max=counts.shape[1] - 1)
        return values.gather(1, index)[:, 0]


def histograms(
    context: Context,
    tops: dict[str, Tensor],
    *,
    per_channel: bool,
    bins: int,
    most: int | None = None,
) -> dict[str, Histogram]:
    """One histogram per channel, or one per layer, of every site; `tops` comes from `maxima`.

    `most` is how many values of a channel of each batch are counted, spread evenly; None for all.
    """
    edges = {name: top if per_channel else top.max()[None] for name, top in tops.items()}
    rows = {name: len(edge) for name, edge in edges.items()}
    counts = {
        name: torch.zeros(n, bins + 1, dtype=torch.int64, device=edges[name].device)
        for name, n in rows.items()
    }

    def watch(node: Node, value: Tensor) -> None:
        if node.role is not Role.ACTIVATION:
            return
        name = node.name
        site = context.graph.sites[name]
        values = by_channel(site, value)
        if most is not None and values.shape[1] > most:
            values = values[:, :: values.shape[1] // most | 1]  # odd: not one column of an image
        flat = sizes(site, values).reshape(rows[name], -1)
        scale = torch.where(edges[name] > 0, bins / edges[name], 0.0)
        scale = torch.where(scale.isfinite(), scale, 0.0)  # a silent channel counts as zeros
        index = (flat * scale[:, None]).ceil_().clamp_(0, bins).long()
        index += (torch.arange(rows[name], device=flat.device) * (bins + 1))[:, None]
        counts[name] += torch.bincount(index.flatten(), minlength=counts[name].numel()).reshape(
            counts[name].shape
        )

    run_all(context, context.own(), watch)
    counts = {name: context.share.add(count) for name, count in counts.items()}
    return {n: Histogram(edges[n], c[:, 0].clone(), c[:, 1:].clone()) for n, c in counts.items()}


def run_all(
    context: Context, batches: Iterable[tuple[int, Tensor]], watch: Callable[[Node, Tensor], None]
) -> None:
    """Run the original on `batches` and let `watch` see every value; CalibrationError where the
    context has no images at all."""
    empty = context.share.number == 0  # to whom some fall, where there are any
    with torch.no_grad():
        for _, batch in batches:
            empty = False
            run(context.graph, batch, watch=watch)
    if empty:
        raise CalibrationError(
            "there are no calibration images", hint="give --calibration-samples at least 1"
        )
