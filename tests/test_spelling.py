"""Messages say options on the command line and keywords in Python, from one text."""

import dataclasses
import json
import pickle

import pytest
import torch
import typer

import convsnn
from convsnn.commands import groups, main
from convsnn.commands.app import COMMANDS, app
from convsnn.errors import Blocker, ConfigError, ConvsnnWarning, ExportError, UnsupportedError
from convsnn.workflows.running.keywords import require_known
from convsnn.workflows.running.spelling import (
    OTHERWISE,
    PREPROCESSING,
    SWITCHES,
    in_keywords,
    spelled,
)
from convsnn.workflows.running.voice import warn
from zoo.data.preprocessing import Preprocessing

OPTIONS = {
    name: {parameter.name: parameter for parameter in command.params}
    for name, command in typer.main.get_command(app).commands.items()
}


@pytest.mark.parametrize(
    ("option", "keyword"),
    [
        ("--timesteps must be at least 1", "timesteps must be at least 1"),
        ("use --force", "use force=True"),
        ("with --no-verify, or --verify", "with verify=False, or verify=True"),
        ("lower --trial-samples.", "lower trial_samples."),
        ("results (--output)", "results (folder)"),
        ("--scale, --input-layout", 'preprocessing["scale"], preprocessing["layout"]'),
        ("name it with --data", "name it with test"),
        ("--neuron if", "--neuron if"),  # which this verb does not take
        ("see convsnn other --force, or --force", "see convsnn other --force, or force=True"),
        ("a--force ----- --", "a--force ----- --"),
    ],
)
def test_an_option_is_said_as_the_keyword_that_the_verb_takes(option, keyword):
    def verb(
        *,
        timesteps,
        trial_samples,
        test=None,
        folder=None,
        force=False,
        verify=True,
        preprocessing=(),
    ):
        warn(option)
        raise UnsupportedError(option, [Blocker("a", "b", "c", option)], hint=option)

    for called, said in ((verb, option), (in_keywords(verb), keyword)):
        with pytest.warns(ConvsnnWarning) as heard, pytest.raises(UnsupportedError) as caught:
            called(timesteps=1, trial_samples=1)
        error = caught.value
        texts = str(error), error.hint, error.items[0].remedy, str(heard[0].message)
        assert set(texts) == {said}
    assert error.__notes__ == [f"hint: {keyword}"]
    assert spelled(option) == option  # nothing is left behind


def test_a_network_tells_how_else_to_convert_it():
    graph = convsnn.load_module(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(),
                                torch.nn.Linear(3, 2)), torch.rand(2, 4))  # fmt: skip
    snn = convsnn.convert(graph, torch.rand(20, 4), 2)
    with pytest.raises(ExportError) as caught:
        snn.export("never.onnx", form="layers")
    assert "--" not in caught.value.hint
    assert "convert the network with schedule layers" in caught.value.hint
    assert caught.value.hint in caught.value.__notes__[0]


def test_keywords_that_are_passed_on_are_known_and_forgotten():
    @in_keywords
    def verb(**given):
        require_known("verb", given, ["force", "epochs"])
        return spelled("--force --epochs")

    @in_keywords
    def other(timesteps=1):
        return verb(), spelled("--force --timesteps")

    assert other() == ("force=True epochs", "--force timesteps")


def test_the_same_words_are_those_of_the_command_on_the_command_line(capsys):
    assert main(["tune", "zoo:mnist5k-cnn", "--minutes", "-1", "--json"]) == 2
    told = json.loads(capsys.readouterr().out)["error"]["message"]
    with pytest.raises(ConfigError) as caught:
        convsnn.tune("zoo:mnist5k-cnn", minutes=-1.0)
    assert told == f"--{caught.value}"
    with pytest.raises(ConfigError, match=r"^minutes is a positive number"):
        convsnn.bench("zoo:mnist5k-cnn", minutes=-1)


def test_the_tables_are_those_of_the_options():
    both = (groups.Reading, groups.Frames)
    assert set(PREPROCESSING) == {field.name for g in both for field in dataclasses.fields(g)}
    known = {field.name for field in dataclasses.fields(Preprocessing)}
    assert set(PREPROCESSING.values()) == known - {"frames"}
    every = {name for found in OPTIONS.values() for name in found}
    assert {*OTHERWISE} <= every
    for command, found in OPTIONS.items():
        assert all(found[name].is_flag for name in SWITCHES & set(found)), command
    assert set(OPTIONS) == set(COMMANDS)


@pytest.mark.parametrize("name", ["convert", "compare", "bench", "train"])
def test_verbs_can_be_sent_to_other_processes(name):
    verb = getattr(convsnn, name)
    assert pickle.loads(pickle.dumps(verb)) is verb


def test_the_outer_verb_has_the_last_word():
    @in_keywords
    def inner(*, samples=1):
        raise ConfigError("wrong", hint="use --samples or --force")

    @in_keywords
    def outer(*, force=False):
        inner()

    with pytest.raises(ConfigError) as caught:
        outer()
    assert caught.value.__notes__ == ["hint: use samples or force=True"]
