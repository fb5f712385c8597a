"""Encoders: the contract of the registry, the statistics of Poisson input and its random numbers.

Statistical tests use fixed seeds; their bounds are those of a right generator at about 1e-6.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from convsnn.encoders import ENCODERS, Encoder
from convsnn.encoders.poisson import Poisson
from convsnn.errors import ConfigError, ConvsnnError
from convsnn.random import uniform

IMAGES = torch.linspace(-1, 1, 2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
IDS = torch.tensor([7, 1000003])


def fitted(name: str) -> Encoder:
    sequences = "steps" in ENCODERS.options(name)
    return ENCODERS.create(f"{name}:steps=9" if sequences else name).fit([IMAGES])


def samples(encoder: Encoder) -> Tensor:
    """Images, or sequences of them where the encoder takes these."""
    if encoder.steps is None:
        return IMAGES
    return torch.stack([IMAGES * scale for scale in range(1, encoder.steps + 1)], 1)


@pytest.mark.parametrize("name", ENCODERS.names())
def test_contract_form_of_the_result(name: str) -> None:
    encoder = fitted(name)
    for dtype in (torch.float32, torch.float64):
        out = encoder.encode(samples(encoder).to(dtype), IDS, range(2, 9))
        assert out.shape == (7, *IMAGES.shape)
        assert out.dtype == dtype
        assert not encoder.constant or all(torch.equal(step, out[0]) for step in out)
        assert encoder.still(samples(encoder).to(dtype)).shape == IMAGES.shape
    assert ENCODERS.describe(name)


@pytest.mark.parametrize("name", ENCODERS.names())
def test_contract_the_spec_builds_the_same_encoder(name: str) -> None:
    encoder = fitted(name)
    again = ENCODERS.create(encoder.spec())
    steps, x = range(6), samples(encoder)
    assert torch.equal(again.encode(x, IDS, steps), encoder.encode(x, IDS, steps))


@pytest.mark.parametrize("name", ENCODERS.names())
@given(cut=st.integers(1, 8))
def test_contract_neither_chunk_nor_batch_changes_the_input(name: str, cut: int) -> None:
    encoder = fitted(name)
    x = samples(encoder)
    whole = encoder.encode(x, IDS, range(9))
    parts = [encoder.encode(x, IDS, r) for r in (range(cut), range(cut, 9))]
    assert torch.equal(torch.cat(parts), whole)
    for sample in range(2):
        alone = encoder.encode(x[sample][None], IDS[sample][None], range(9))
        assert torch.equal(alone[:, 0], whole[:, sample])
    turned = encoder.encode(x.flip(0), IDS.flip(0), range(9))
    assert torch.equal(turned.flip(1), whole)


def test_poisson_sends_only_signed_spikes_of_one_size() -> None:
    out = Poisson(scale=2.0).encode(IMAGES, IDS, range(50))
    assert set(out.unique().tolist()) == {-2.0, 0.0, 2.0}
    assert bool((out * IMAGES >= 0).all())


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_poisson_mean_tends_to_the_image(scale: float) -> None:
    steps = 4000
    mean = Poisson(seed=5, scale=scale).encode(IMAGES, IDS, range(steps)).double().mean(0)
    spread = torch.sqrt(IMAGES.abs().double() * (scale - IMAGES.abs()) / steps)
    assert bool(((mean - IMAGES).abs() <= 5 * spread + 1e-6).all())


def test_poisson_saturates_above_its_scale() -> None:
    out = Poisson(scale=0.5).encode(torch.tensor([[0.75, -3.0]]), IDS[:1], range(20))
    assert torch.equal(out, torch.tensor([0.5, -0.5]).expand(20, 1, 2))


def test_poisson_takes_its_scale_from_all_batches() -> None:
    encoder = Poisson().fit([IMAGES / 2, -3 * IMAGES, IMAGES])
    assert encoder.scale == 3.0
    assert Poisson(scale=0.5).fit([IMAGES]).scale == 0.5


def test_poisson_depends_on_seed_and_sample_number() -> None:
    out = Poisson(seed=1, scale=1.0).encode(IMAGES, IDS, range(20))
    assert not torch.equal(out, Poisson(seed=2, scale=1.0).encode(IMAGES, IDS, range(20)))
    assert not torch.equal(out, Poisson(seed=1, scale=1.0).encode(IMAGES, IDS + 1, range(20)))


BAD: list[Callable[[], object]] = [
    lambda: ENCODERS.create("poisson:scale=0"),
    lambda: ENCODERS.create("poisson:scale=nan"),
    lambda: ENCODERS.create("poison"),
    lambda: Poisson().fit([torch.zeros(2, 3)]),
    lambda: Poisson().fit([]),
    lambda: Poisson().fit([torch.tensor([1.0, float("inf")])]),
    lambda: Poisson().fit([torch.tensor([1.0, float("nan")])]),
    lambda: Poisson().fit([torch.ones(2), torch.tensor([1.0, float("nan")])]),
    lambda: Poisson().encode(IMAGES, IDS, range(1)),
]


@pytest.mark.parametrize("call", BAD)
def test_what_cannot_be_used_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ConvsnnError) as caught:
        call()
    assert isinstance(caught.value, ConfigError)


def kolmogorov_smirnov(values: Tensor) -> float:
    """Largest distance to the uniform distribution times sqrt(n); 2.7 is a chance of 1e-6."""
    ordered = values.flatten().sort().values.numpy()
    n = len(ordered)
    index = np.arange(n)
    gap = max(float((ordered - index / n).max()), float(((index + 1) / n - ordered).max()))
    return gap * math.sqrt(n)


@pytest.mark.parametrize("seed", [0, 1, -5, 2**40, 2**64 - 1])
def test_uniform_numbers_are_uniform(seed: int) -> None:
    values = uniform(seed, torch.arange(20), 3, range(40), (5, 11))
    assert values.dtype == torch.float64
    assert 0 <= float(values.min()) <= float(values.max()) < 1
    assert kolmogorov_smirnov(values) < 2.7


def pairs_chi_square(a: Tensor, b: Tensor, bins: int = 16) -> float:
    """Chi-square of the joint histogram in standard deviations from its mean."""
    cells = (a.flatten() * bins).long() * bins + (b.flatten() * bins).long()
    counts = torch.bincount(cells, minlength=bins * bins).double()
    expected = counts.sum() / bins**2
    chi = float(((counts - expected) ** 2 / expected).sum())
    freedom = bins**2 - 1
    return (chi - freedom) / math.sqrt(2 * freedom)


def test_neighbours_along_every_key_are_independent() -> None:
    ids, steps, shape = torch.arange(33), range(33), (32,)
    base = uniform(9, ids, 0, steps, shape)
    pairs = {
        "site": (base, uniform(9, ids, 1, steps, shape)),
        "seed": (base, uniform(10, ids, 0, steps, shape)),
        "sample": (base[:, :-1], base[:, 1:]),
        "step": (base[:-1], base[1:]),
        "element": (base[..., :-1], base[..., 1:]),
    }
    for name, (a, b) in pairs.items():
        assert abs(pairs_chi_square(a, b)) < 6, name
        assert abs(float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])) < 0.03, (
            name
        )


@given(
    first=st.integers(0, 1000),
    cut=st.integers(1, 4),
    ids=st.lists(st.integers(0, 2**40), min_size=2, max_size=5, unique=True),
)
def test_uniform_numbers_do_not_depend_on_what_is_drawn_beside_them(
    first: int, cut: int, ids: list[int]
) -> None:
    numbers = torch.tensor(ids)
    whole = uniform(1, numbers, 2, range(first, first + 5), (3,))
    assert torch.equal(whole[cut:], uniform(1, numbers, 2, range(first + cut, first + 5), (3,)))
    assert torch.equal(whole[:, 1:], uniform(1, numbers[1:], 2, range(first, first + 5), (3,)))
    assert len(whole.unique()) == whole.numel()
