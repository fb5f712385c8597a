"""Samples looked at closely: which, what is said of them, and that nothing foreign gets in."""

import base64
import copy
import io
import json
import re
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

import convsnn
from convsnn.errors import ExportError
from convsnn.report.document import to_json, validate
from convsnn.report.page.examples import told
from convsnn.report.page.html import render_html
from convsnn.report.pictures import SIDE, mask, picture, planes, visible
from convsnn.workflows.evaluate.examples import MOST, chosen, how_many
from convsnn.workflows.evaluate.watched import spread

KINDS = ["classify", "layers", "segment", "regress", "image"]


class Masks(nn.Module):
    """Four classes at each place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.last = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 4, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(self.first(x)))


def case(kind: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A network, images and what they are to be answered with."""
    torch.manual_seed(3)
    images = torch.rand(16, 3, 12, 12)
    if kind == "segment":
        net: nn.Module = Masks()
        targets = net(images).argmax(1)
        targets[:, :2] = 255
        return net, images, targets
    if kind == "regress":
        net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
        x = torch.randn(16, 6)
        return net, x, net(x).detach() + 0.1
    if kind == "image":
        net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))
        return net, images, net(images).detach()
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(576, 5))
    return net, images - 0.5, net(images - 0.5).argmax(1)


def scored(kind: str, **options: Any) -> dict[str, Any]:
    net, x, y = case(kind)
    schedule = "layers" if kind == "layers" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        snn = convsnn.convert(net, (x, y), 3, schedule=schedule)
        return json.loads(to_json(dict(snn.evaluate((x, y), **options).document)))


@pytest.fixture(scope="module")
def reports() -> dict[str, dict[str, Any]]:
    return {kind: scored(kind, examples=3) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_seen_fits_the_scores(reports: dict[str, Any], kind: str) -> None:
    report = reports[kind]
    section = report["examples"]
    validate(report)
    assert len(section["samples"]) == 3
    page = render_html(report)
    for sample, words in zip(section["samples"], told(report), strict=True):
        assert words["title"] in page
        if sample["answers"]:  # in float32 as scored
            assert sample["answers"][-1] == sample["snn"]
            assert max(sample["outputs"], key=lambda one: one["snn"][-1])["output"] == sample["snn"]
            right = sample["snn"] == sample["label"], sample["ann"] == sample["label"]
            assert sample["kind"] == {
                (True, True): "right", (False, True): "lost", (True, False): "gained",
                (False, False): "wrong",
            }[right]  # fmt: skip
    assert (section["samples"][0]["picture"] is None) == (kind == "regress")
    beside = section["samples"][0]["pictures"]
    assert (beside is not None) == (kind in ("segment", "image"))
    assert beside is None or set(beside) == {"target", "ann", "snn"}
    assert set(re.findall(r'<img src="(.{22})', page)) <= {"data:image/png;base64,"}
    assert "raster-line-0" in page


def test_looking_at_all_gives_the_rates_that_were_scored() -> None:
    for kind in ("classify", "layers"):
        report = scored(kind, examples=16)
        samples = report["examples"]["samples"]
        assert sorted(sample["sample"] for sample in samples) == list(range(16))
        for place, layer in enumerate(report["layers"]):
            mean = sum(sample["activity"][place] for sample in samples) / len(samples)
            assert mean == pytest.approx(layer["firing_rate"][-1], rel=1e-4)


def test_the_same_seed_gives_the_same_samples_and_none_is_none() -> None:
    assert scored("classify", examples=3)["examples"] == scored("classify", examples=3)["examples"]
    for options in ({"examples": 0}, {}):  # of so few samples none is looked at unasked
        report = scored("classify", **options)
        assert "examples" not in report
        assert "closely" not in render_html(report)


@given(st.integers(0, 10_000))
def test_how_many_are_looked_at(scored_: int) -> None:
    assert how_many(None, scored_) == min(MOST, scored_ // 100)
    assert how_many(7, scored_) == min(7, scored_)
    assert how_many(0, scored_) == 0


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 50), st.booleans())
def test_half_are_of_those_that_were_lost(
    samples: int, count: int, seed: int, labelled: bool
) -> None:
    made = torch.Generator().manual_seed(seed)
    labels, ann, snn = torch.randint(3, (3, samples), generator=made)
    evaluation: Any = SimpleNamespace(samples=samples, predictions=snn[None], ann_predictions=ann)
    found = chosen(evaluation, labels if labelled else None, count, seed)
    places = [one.place for one in found]
    assert len(places) == len(set(places)) == min(count, samples)
    lost = (ann == labels) & (snn != labels) if labelled else snn != ann
    kept = (ann == labels) & (snn == labels) if labelled else snn == ann
    shown = int(lost[places].sum())
    assert shown >= min(max(1, count // 2), int(lost.sum()))
    assert shown <= max(1, count // 2) or int((~lost)[places].sum()) == int((~lost).sum())
    assert int(kept[places].sum()) >= min(count - shown, int(kept.sum()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e: e["samples"][0].update(kind="odd"), "kind is none of"),
        (lambda e: e["samples"][0]["activity"].pop(), "activity is not of"),
        (lambda e: e["samples"][0]["answers"].pop(), "answers are not of"),
        (lambda e: e["samples"][0]["outputs"][0]["snn"].pop(), "outputs are not of"),
        (lambda e: e["samples"][0].update(label=5), "names a class"),
        (lambda e: e["samples"][0].update(picture="https://x.org/a.png"), "no data URI"),
        (
            lambda e: e["samples"][0]["maps"].append({"layer": "", "picture": "data:text"}),
            "no data",
        ),
        (lambda e: e["samples"][0].update(pictures={"snn": "javascript:1"}), "no data URI"),
        (lambda e: e["samples"][0].update(pictures=["snn"]), "pictures"),
        (lambda e: e["watched"].update(sample=3), "none of the samples"),
        (lambda e: e["watched"]["layers"][0]["spikes"].pop(), "not a train"),
        (lambda e: e["watched"]["layers"][0]["spikes"].__setitem__(0, [9]), "after the last"),
        (lambda e: e["watched"]["layers"][0].update(trace={"potential": [1]}), "trace of"),
        (lambda e: e["watched"]["layers"][0].update(trace=[1, 2]), "trace"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    reports: dict[str, Any], change: Any, words: str
) -> None:
    report = copy.deepcopy(reports["classify"])
    change(report["examples"])
    with pytest.raises(ExportError, match=words):
        render_html(report)


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_pictures_hold_what_they_show() -> None:
    image = torch.rand(3, 12, 10)
    held = torch.tensor(list(decoded(picture(image)).getdata())).reshape(12, 10, 3)
    assert torch.equal(held, (255 * image).round().permute(1, 2, 0).long())
    assert max(decoded(picture(torch.rand(1, 300, 200))).size) == SIDE
    normal = (image - 0.4) / torch.tensor([0.2, 0.3, 0.4]).reshape(3, 1, 1)
    assert torch.allclose(visible(normal, [0.4], [0.2, 0.3, 0.4]), image, atol=1e-6)
    wide = visible(10 * image - 5)
    assert (float(wide.min()), float(wide.max())) == (0.0, 1.0)
    classes = torch.arange(20).reshape(4, 5)
    colours = list(decoded(mask(classes)).getdata())
    assert len(set(colours)) == 20
    for shape in ((12,), (2, 12, 12), (1, 4, 12), (1, 8, 200)):
        assert planes(torch.zeros(shape)) is None
    for shape in ((12, 12), (12, 12, 3), (1, 8, 9)):
        assert planes(torch.zeros(shape)) is not None


@given(st.integers(1, 200), st.integers(2, 9))
def test_some_layers_of_many_reach_from_first_to_last(layers: int, most: int) -> None:
    names = [str(place) for place in range(layers)]
    found = spread(names, most)
    assert len(found) == min(layers, most)
    assert [found[0], found[-1]] == [names[0], names[-1]]
    assert found == sorted(found, key=int)
