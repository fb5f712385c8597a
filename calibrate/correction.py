"""Moves a quantity of a layer's neurons until their mean output is that of the original network.

A neuron's output depends, its input being given, on nothing but its own start, so each neuron (or
channel) keeps the best of what was tried, and no mean error can come out larger than it went in.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from calibrate.replay import Replay
from calibrate.sent import means
from calibrate.stops import Layer
from convsnn.spiking.plan import SitePlan

Per = Literal["neuron", "channel"]


def check_options(*, at: int | None, samples: int, sweeps: int) -> None:
    """Raise ValueError for numbers that cannot be used."""
    if at is not None and at < 1:
        raise ValueError(f"steps must be at least 1, not {at}")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, not {samples}")
    if sweeps < 1:
        raise ValueError(f"sweeps must be at least 1, not {sweeps}")


def correct_potential(
    replay: Replay, layer: Layer, *, at: Sequence[int], per: Per, sweeps: int
) -> None:
    """Initial potentials: V(0) += t mean(a - a_snn(t)), averaged over the steps t of `at`."""

    def changed(planned: SitePlan, gaps: Sequence[Tensor]) -> SitePlan:
        move = sum(t * gap for t, gap in zip(at, gaps, strict=True)) / len(at)
        return replace(planned, potential=planned.potential + move)

    _correct(replay, layer, at=at, per=per, sweeps=sweeps, changed=changed)


def correct_shift(replay: Replay, layer: Layer, *, at: Sequence[int], sweeps: int) -> None:
    """Current at every step: shift += mean(a - a_snn(t)) per channel, over the steps of `at`."""

    def changed(planned: SitePlan, gaps: Sequence[Tensor]) -> SitePlan:
        move = torch.stack(list(gaps)).mean(0)
        return replace(planned, shift=move if planned.shift is None else planned.shift + move)

    _correct(replay, layer, at=at, per="channel", sweeps=sweeps, changed=changed)


def correct_timed_bias(
    replay: Replay, layer: Layer, *, steps: int, rate: float, sweeps: int
) -> None:
    """Current of each of the first `steps`: after step t, t mean(a - a_snn(t)) is owed per channel;
    bias(t) += rate (what is owed after t - what was after t - 1)."""

    def changed(planned: SitePlan, gaps: Sequence[Tensor]) -> SitePlan:
        owed = torch.stack([t * gap for t, gap in enumerate(gaps, start=1)])
        move = rate * torch.diff(owed, dim=0, prepend=torch.zeros_like(owed[:1]))
        before = planned.timed_bias
        if before is not None:
            move = before + _lasting(move, len(before))
        return replace(planned, timed_bias=move)

    at = range(1, steps + 1)
    if layer.site is not None:  # which an earlier correction may have given fewer steps
        planned = replay.plan.sites[layer.site.name]
        if planned.timed_bias is not None:
            longer = _lasting(planned.timed_bias, steps)
            replay.set_site(layer.site.name, replace(planned, timed_bias=longer))
    _correct(replay, layer, at=at, per="channel", sweeps=sweeps, changed=changed)


def _lasting(timed: Tensor, steps: int) -> Tensor:
    """For `steps` at least, with nothing in those that are added."""
    more = timed.new_zeros(max(0, steps - len(timed)), *timed.shape[1:])
    return torch.cat([timed, more])


def _correct(
    replay: Replay,
    layer: Layer,
    *,
    at: Sequence[int],
    per: Per,
    sweeps: int,
    changed: Callable[[SitePlan, Sequence[Tensor]], SitePlan],
) -> None:
    if layer.site is None:
        return
    name = layer.site.name
    planned = replay.plan.sites[name]
    best = planned
    smallest: Tensor | None = None
    for sweep in range(sweeps + 1):
        gaps = _gaps(replay, layer, at=at, per=per)
        size = sum(gap.abs() for gap in gaps)
        if smallest is None:
            smallest = torch.as_tensor(size)
        else:
            better = size <= smallest
            best = _chosen(better, replay.plan.sites[name], best)
            smallest = torch.minimum(torch.as_tensor(size), smallest)
        if sweep < sweeps:
            replay.set_site(name, changed(replay.plan.sites[name], gaps))
    replay.set_site(name, best)


def _chosen(better: Tensor, new: SitePlan, old: SitePlan) -> SitePlan:
    fields = {
        key: torch.where(better, value, old.tensors().get(key, torch.zeros_like(value)))
        for key, value in new.tensors().items()
        if key in ("potential", "shift", "timed_bias")
    }
    return replace(old, **fields)


def _gaps(replay: Replay, layer: Layer, *, at: Sequence[int], per: Per) -> list[Tensor]:
    """Mean of a - a_snn(t) over the images, and over a channel's neurons, for each t of `at`."""
    site = layer.site
    assert site is not None
    total = [torch.zeros(site.shape, dtype=torch.float64) for _ in at]
    for ids, (currents, target) in zip(replay.ids(), replay.currents(layer, max(at)), strict=True):
        wanted = replay.context.graph.activate(site.name, target)
        got = means(replay.fire(layer, ids, currents, max(at)), at)
        total = [
            t.to(wanted.device) + (wanted - mean).double().sum(0)
            for t, mean in zip(total, got, strict=True)
        ]
    summed = replay.context.share.add(torch.stack(total))
    found = [t / replay.images for t in summed]
    if per == "channel" and site.shape:
        axes = [axis for axis in range(len(site.shape)) if axis != site.channel_axis]
        found = [t.mean(axes, keepdim=True) if axes else t for t in found]
    like = replay.plan.sites[site.name].threshold
    return [t.to(like) for t in found]
