"""Accuracy by class and the tables of what was taken for what."""

import copy
import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from test_report import DEEP, sample

from convsnn.errors import ExportError
from convsnn.measure.confusion import confusion, most_confused, share_right
from convsnn.report.document import validate
from convsnn.report.page.classes import FEW, PAIRS, by_class, classes_in_words, classes_section
from convsnn.report.page.html import render_html
from convsnn.report.page.table import render_table


def evaluation(answers: Any, originals: Any, at: tuple[int, ...]) -> Any:
    return SimpleNamespace(
        predictions=answers, ann_predictions=originals, activity=SimpleNamespace(at=at)
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(1, 40), st.integers(0, 1000))
def test_tables_count_what_a_loop_counts(classes: int, samples: int, seed: int) -> None:
    made = torch.Generator().manual_seed(seed)
    draws = torch.randint(classes, (4, samples), generator=made)
    labels, originals, answers = draws[0], draws[1], draws[2:].to(torch.int16)
    found = confusion(evaluation(answers, originals, (2, 8)), labels, classes)
    assert found is not None
    assert found.step == 8
    for made_of, given_ in ((found.ann, originals), (found.snn, answers[-1])):
        table = made_of.table()
        for row in range(classes):
            of_row = [int(a) for a, label in zip(given_, labels, strict=True) if label == row]
            assert table[row].tolist() == [of_row.count(column) for column in range(classes)]
            share = of_row.count(row) / len(of_row) if of_row else None
            assert share_right(made_of)[row] == share
        wrong = [(int(y), int(a)) for y, a in zip(labels, given_, strict=True) if y != a]
        pairs = {(p.label, p.answer): p.samples for p in most_confused(made_of, classes**2)}
        assert pairs == {pair: wrong.count(pair) for pair in wrong}
        assert list(pairs.values()) == sorted(pairs.values(), reverse=True)


def test_without_classes_or_labels_there_is_no_table() -> None:
    known = torch.zeros(1, 3)
    assert confusion(evaluation(None, None, (1,)), torch.zeros(3), 2) is None
    assert confusion(evaluation(known, known[0], (1,)), None, 2) is None


def with_classes(number: int, *, names: list[str] | None = None) -> dict[str, Any]:
    made = torch.Generator().manual_seed(number)
    labels = torch.arange(4 * number) % number
    originals = torch.where(torch.rand(len(labels), generator=made) < 0.9, labels, labels - 1)
    answers = torch.where(torch.rand(len(labels), generator=made) < 0.8, originals, labels - 2)
    found = confusion(
        evaluation((answers % number)[None], originals % number, (16,)), labels, number
    )
    assert found is not None
    report = sample(DEEP[:3], 16)
    report["classes"] = classes_section(found, names)
    return report


@pytest.mark.parametrize("number", [2, 10, FEW, FEW + 1, 1000])
def test_many_classes_stay_few_on_the_page(number: int) -> None:
    report = with_classes(number, names=[f"<class {i}>" for i in range(number)])
    validate(report)
    section = report["classes"]
    assert (section["confusion"]["snn"] is None) == (number > FEW)
    assert len(section["confused"]["snn"]) <= PAIRS
    page = render_html(report)
    assert page.count("<svg") == (5 if number <= FEW else 3)
    assert len(page) < 400_000
    lost = by_class(report)[0]
    assert f'<th scope="row">&lt;{lost.name[1:-1]}&gt;</th>' in page
    out = io.StringIO()
    Console(file=out, width=80).print(render_table(report))
    assert classes_in_words(report) in " ".join(out.getvalue().split())


def test_cells_of_a_picture_are_read_as_shares() -> None:
    report = with_classes(4)
    page, table = render_html(report), report["classes"]["confusion"]["snn"]
    found = re.search(r'aria-label="What was answered[^"]*" data-readings=\'([^\']*)\'', page)
    assert found is not None
    assert f'"{100 * table[0][0] / sum(table[0]):.2f} %"' in found[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s["names"].pop(), "classes.names has 3 entries for 4 classes"),
        (lambda s: s["ann"].pop(), "classes.ann"),
        (lambda s: s["confusion"]["snn"][0].pop(), "classes.confusion.snn"),
        (lambda s: s["confused"]["ann"].append({"label": 4, "answer": 0, "samples": 1}), "names a"),
        (lambda s: s.update(ann=["x", None, None, None]), "classes.ann"),
    ],
)
def test_what_does_not_fit_together_is_refused(change: Any, words: str) -> None:
    report = copy.deepcopy(with_classes(4, names=list("abcd")))
    validate(report)
    change(report["classes"])
    with pytest.raises(ExportError, match=re.escape(words)):
        validate(report)
