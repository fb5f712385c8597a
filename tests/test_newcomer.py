"""What somebody reads who sees the project for the first time: hints that can be followed."""

import pytest

from calibrate import CALIBRATORS
from convsnn.errors import ConfigError
from convsnn.measure.chip_table import chip_names, load_chip
from convsnn.workflows.subject.named_data import require_data


@pytest.mark.parametrize(("model", "beside"), [("a/mine.onnx", True), ("my_model:build", False)])
def test_a_file_beside_the_model_is_advised_only_where_it_is_read(model, beside):
    with pytest.raises(ConfigError) as raised:
        require_data(None, model)
    assert (".data.json" in raised.value.hint) is beside


def test_an_unknown_chip_is_answered_with_all_names():
    with pytest.raises(ConfigError) as raised:
        load_chip("nochip")
    assert all(name in raised.value.hint for name in chip_names())


@pytest.mark.parametrize("name", CALIBRATORS.names())
def test_descriptions_of_stages_are_whole_sentences(name):
    assert CALIBRATORS.describe(name).endswith(".")
