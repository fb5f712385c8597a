"""What is known under each kind of name, and that every option of this project says what it is."""

import json
from typing import Annotated, Literal, get_args

import pytest

from calibrate import CALIBRATORS
from convsnn.commands import main
from convsnn.encoders import ENCODERS
from convsnn.errors import ConfigError
from convsnn.neurons import NEURONS
from convsnn.readouts import READOUTS
from convsnn.registry import Registry, enrolling_for
from convsnn.workflows.catalogue import Catalogue, Kind, catalogue

EXPLAINED = {
    "neurons": NEURONS, "calibrators": CALIBRATORS, "encoders": ENCODERS, "readouts": READOUTS
}  # fmt: skip
ENTRIES = [
    (kind, name)
    for kind, registry in EXPLAINED.items()
    for name in registry.names()
    if registry.plugin(name) is None
]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_option_says_what_it_is(kind, name):
    registry = EXPLAINED[kind]
    found = {option.name: option for option in registry.explain(name)}
    assert list(found) == list(registry.options(name))
    for option in found.values():
        assert 8 < len(option.text) <= 100, option.name
        assert "\n" not in option.text
        assert not option.text.endswith(".")
        assert option.required or option.default is None or option.kind != "none"
        # what the words promise is taken: the default, and none where the kind says so
        if option.default is not None:
            assert (
                str(option.default).lower() in option.kind
                or "number" in option.kind
                or (isinstance(option.default, bool) and option.kind == "true or false")
            )
        assert (option.default is None) == option.kind.endswith("none")


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_list_shows_each_name_and_explains_one(kind, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    found = catalogue(kind)
    assert isinstance(found, Catalogue)
    assert found.names
    text = str(found)
    assert all(name[:12] in text for name in found.names)
    one = catalogue(kind, found.names[-1])
    assert one.rows == [found.rows[-1]]
    assert json.loads(one.to_json()) == {kind: [json.loads(found.to_json())[kind][-1]]}
    assert repr(one) == f"Catalogue({kind}: {found.names[-1]})"
    assert main(["list", kind, found.names[-1], "--json"]) == 0
    assert capsys.readouterr().out == one.to_json()
    assert main(["list", kind, found.names[-1]]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    row = one.rows[0]
    facts = [v for k, v in row.items() if k not in ("options", "plugin") and isinstance(v, str)]
    facts += [option["text"] for option in row.get("options", {}).values()]
    assert all(" ".join(fact.split()) in shown for fact in facts if len(fact) < 40)


@pytest.mark.parametrize("kind", ["neurons", "calibrators", "encoders", "readouts", "datasets"])
def test_a_description_is_a_whole_sentence(kind):
    assert all(row["description"].endswith(".") for row in catalogue(kind).rows)


def test_an_option_is_shown_with_type_unit_and_default(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["list", "neurons", "msat"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert lines["early"].split()[1:4] == ["whole", "number", "16"]
    assert "time steps" in lines["early"]
    assert "vgg16, resnet20 or resnet20-repo" in lines["set"]
    assert "number or none" in lines["alpha"]
    assert "--neuron msat:confidence=0.5" in lines["like"]


@pytest.mark.parametrize("kind", EXPLAINED)
def test_what_is_shown_as_an_example_works(kind):
    for name in EXPLAINED[kind].names():
        typed = [line for line in str(catalogue(kind, name)).splitlines() if "like --" in line]
        assert len(typed) == bool(EXPLAINED[kind].options(name))
        for line in typed:
            given = {"threshold": 1.0} if kind == "neurons" else {}
            EXPLAINED[kind].create(line.split()[-1], **given)


def test_names_that_are_not_known_suggest_the_nearest(capsys):
    with pytest.raises(ConfigError, match="'msatt' is none of the neurons") as caught:
        catalogue("neurons", "msatt")
    assert "msat" in caught.value.hint
    with pytest.raises(ConfigError, match="no list of 'neuron'"):
        catalogue("neuron")
    assert main(["list", "models", "nothing-like-it"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "none of the models" in err


@pytest.fixture
def outsiders(monkeypatch):
    """Neurons of a plug-in: one without a text, one with a default that is no JSON value."""
    monkeypatch.setattr(NEURONS, "_entries", dict(NEURONS._entries))
    monkeypatch.setattr(NEURONS, "_plugins", dict(NEURONS._plugins))
    with enrolling_for("outside.neurons"):

        @NEURONS.register("plain-outsider")
        def plain(threshold: object, size: int = 3, *, mode: Literal["a", "b"] | None = None):
            """A neuron [red]in brackets[/red]."""

        @NEURONS.register("odd-outsider")
        def odd(threshold: object, *, far: Annotated[float, 7, "a length, metres"] = 1 / 3j): ...


def test_entries_of_plugins_are_marked_and_work_without_texts(outsiders, capsys):
    (row,) = catalogue("neurons", "plain-outsider").rows
    assert row["plugin"] == "outside.neurons"
    assert row["options"] == {
        "size": {"kind": "whole number", "default": 3, "text": "", "required": False},
        "mode": {"kind": "a or b or none", "default": None, "text": "", "required": False},
    }
    assert "A neuron [red]in brackets[/red]. (plug-in outside.neurons)" in str(
        catalogue("neurons", "plain-outsider")
    )
    assert main(["list", "neurons"]) == 0
    assert "(plug-in outside.neurons)" in " ".join(capsys.readouterr().out.split())
    assert {row["plugin"] for row in catalogue("neurons").rows} == {None, "outside.neurons"}
    (row,) = catalogue("neurons", "odd-outsider").rows
    assert row["options"]["far"]["text"] == "a length, metres"
    assert row["options"]["far"]["default"] == str(1 / 3j)
    assert json.loads(catalogue("neurons").to_json())


def test_an_option_without_a_default_is_required():
    registry: Registry[object] = Registry("thing")

    @registry.register("it")
    def make(*, size: Annotated[int, "how large it is, metres"], name: str = "x"): ...

    size, name = registry.explain("it")
    assert (size.required, size.default, size.text) == (True, None, "how large it is, metres")
    assert (name.required, name.kind) == (False, "text")


@pytest.mark.parametrize("columns", [40, 80])
def test_nothing_of_a_method_is_lost_on_a_narrow_terminal(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["list", "methods"]) == 0
    out = "".join(capsys.readouterr().out.split())
    for row in catalogue("methods").rows:
        assert f"--calibrate{row['calibrate']}".replace(" ", "") in out
