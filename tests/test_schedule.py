"""The learning rate over time: LTMD's eight steps by epoch, and going on after a stop."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from convsnn.errors import ConfigError
from convsnn.load import load_module
from convsnn.train.direct import Form, Judged, prepare
from convsnn.train.loop import train
from convsnn.train.losses import LOSSES
from convsnn.train.network import TrainableNetwork
from convsnn.train.samples import InMemory
from convsnn.train.schedule import factor
from convsnn.train.settings import WARM, Settings
from zoo.recipes.ltmd import EIGHT_STEPS
from zoo.recipes.spiking import RECIPES

# the last epoch of each rate, counted from 1, as the authors' code has them
RATES = ((50, 0.04), (100, 0.01), (150, 0.005), (200, 0.001), (250, 5e-4), (300, 1e-4), (350, 5e-5))


@pytest.mark.parametrize("updates", [1, 7, 781])
def test_the_eight_steps_of_ltmd_fall_on_its_epochs(updates: int) -> None:
    for epoch in range(1, 401):
        wanted = next((rate for last, rate in RATES if epoch <= last), 1e-5)
        for done in (0, updates - 1):  # the first and last update of the epoch
            progress = ((epoch - 1) * updates + done) / (400 * updates)
            assert 0.04 * factor(EIGHT_STEPS, progress) == pytest.approx(wanted)
    recipe = RECIPES["ltmd-cifar10"]
    assert (recipe.schedule, recipe.epochs, recipe.learning_rate) == (EIGHT_STEPS, 400, 0.04)


@given(factors=st.lists(st.floats(1e-6, 1), min_size=1, max_size=9), parts=st.integers(1, 50))
def test_every_factor_holds_for_the_same_part_of_the_way(factors: list[float], parts: int) -> None:
    schedule = "steps:" + "/".join(map(repr, factors))
    total = parts * len(factors)
    found = [factor(schedule, done / total) for done in range(total)]
    assert found == [each for each in factors for _ in range(parts)]
    assert factor(schedule, 1.0) == factors[-1]


def test_the_cosine_falls_from_one_to_zero() -> None:
    assert (factor("cosine", 0), factor("cosine", 0.5)) == (1, pytest.approx(0.5))
    assert factor("cosine", 1.5) == 0


@pytest.mark.parametrize(
    "schedule", ["cosinus", "steps:", "steps:1/0", "steps:2", "1/0.1", "steps:1/nan"]
)
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(ConfigError, match="schedule") as caught:
        Settings(schedule=schedule)
    assert "steps:1/0.1/0.01" in caught.value.hint


def network() -> TrainableNetwork:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    return prepare(load_module(module, torch.zeros(2, 6)), Form()).network


def data() -> InMemory:
    draw = torch.Generator().manual_seed(1)
    return InMemory(torch.randn(40, 6, generator=draw), torch.arange(40) % 3)


def learn(folder: Path, loss: Any = None) -> list[dict[str, Any]]:
    settings = Settings(steps=2, epochs=8, batch_size=4, schedule="steps:1/0.1/0.01/0.001")
    objective = loss or Judged(LOSSES.create("mean-ce"))
    state = train(network(), data(), objective, settings, folder=folder, every=3)
    return [{**asdict(entry), "seconds": 0} for entry in state.epochs()]


class Stopping:
    """A loss that stops the run at one of its updates."""

    def __init__(self, at: int) -> None:
        self.loss, self.left = Judged(LOSSES.create("mean-ce")), at

    def __call__(self, *given: Any) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.loss(*given)


def test_a_stopped_run_goes_on_with_the_same_rates_and_losses(tmp_path: Path) -> None:
    whole = learn(tmp_path / "whole")
    assert WARM == 10 * 2  # updates: the first two epochs are the rise
    rates = [entry["learning_rate"] / 1e-3 for entry in whole]
    # noted behind an epoch's last update, so the rate of the next
    assert rates[1:] == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.001])
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "cut", Stopping(34))
    assert learn(tmp_path / "cut") == whole
