"""What the MODEL argument names: where its graph, its original and its preprocessing come from."""

import inspect
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from convsnn.errors import ConfigError, LoadError
from convsnn.graph import Graph, run
from convsnn.load import (
    load_factory,
    load_module,
    load_weights,
    onnx_reference,
    read_metadata,
    read_onnx,
)
from convsnn.load.nir import refuse_nir
from convsnn.load.verify import Reference, module_reference
from convsnn.load.wrappers import require_weights, size_lazy
from convsnn.passes.outputs import choose_output
from convsnn.registry import nearest
from convsnn.workflows.running.voice import note
from convsnn.workflows.subject.digests import file_digest, graph_digest, module_digest
from zoo.data import Preprocessing
from zoo.models import MODELS

NO_WEIGHTS = "give them with --weights FILE; nothing is downloaded"


@dataclass(frozen=True)
class Source:
    """A model the user named, before it is read.

    `module` is set, or `path` (an ONNX file) and what was `read` from it. `input_shape` is None
    where only the data can tell it. `trained` is False where the weights are random.
    """

    name: str
    text: str
    sha256: str
    module: nn.Module | None = None
    path: Path | None = None
    read: Graph | None = None
    input_shape: tuple[int, ...] | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    data: str | None = None
    described_in: str = ""  # the place that names the data
    trained: bool = True
    loaded: bool = True  # False where only the user's own code can know whether it loads weights
    answer: str | None = None  # the output to take, where there are several
    notes: tuple[str, ...] = ()  # what of a file was left out

    def graph(self, example: Tensor) -> Graph:
        """The network as a graph; `example` is (B, *input shape)."""
        if self.module is not None:
            return load_module(self.module, example, output=self.answer, note=note)
        assert self.read is not None
        for text in self.notes:
            note(text)
        return self.read

    def reference(self) -> Reference:
        """The original network: the module itself, or the file in ONNX Runtime."""
        if self.module is not None:
            return module_reference(self.module)
        if self.path is not None:
            return onnx_reference(self.path)
        assert self.read is not None
        graph = self.read
        return lambda x: list(run(graph, x).values())

    def parameters(self, graph: Graph) -> int:
        """Trained numbers of the original; running statistics of batch norm do not count."""
        if self.module is not None:
            return sum(p.numel() for p in self.module.parameters())
        statistics = {i for n in graph.nodes if n.op == "batch_norm" for i in n.inputs[3:]}
        return sum(t.numel() for name, t in graph.tensors.items() if name not in statistics)


def source_of(
    model: nn.Module | Graph | str | Path,
    *,
    weights: Path | None = None,
    input_shape: tuple[int, ...] | None = None,
    answer: str | None = None,
) -> Source:
    """The source of a model given in Python: a module, a graph, or what `find_source` finds.

    Of several outputs `answer` names the one to take.
    """
    if isinstance(model, nn.Module):
        if weights is not None:
            load_weights(model, weights, note=note)
        require_weights(model)
        name = type(model).__name__
        return Source(
            name,
            f"{name} given in Python",
            module_digest(model),
            module=model,
            input_shape=input_shape,
            answer=answer,
        )
    if isinstance(model, Graph):
        model = model if answer is None else choose_output(model, answer)
        shape = tuple(model.input.attrs["shape"])
        text = "graph given in Python"
        return Source("graph", text, graph_digest(model), read=model, input_shape=shape)
    return find_source(str(model), weights=weights, input_shape=input_shape, answer=answer)


def find_source(
    text: str,
    *,
    weights: Path | None,
    input_shape: tuple[int, ...] | None,
    answer: str | None = None,
) -> Source:
    """Find the model that `text` names; LoadError or ConfigError says what is wrong with it.

    `input_shape` is that of one sample; of several outputs `answer` names the one to take.
    """
    kind, colon, name = text.partition(":")
    if Path(text).suffix == ".py":
        name = Path(text).stem
        raise LoadError(f"'{text}' is Python source", hint=f"name a function in it: {name}:FACTORY")
    refuse_nir(text)
    if Path(text).suffix == ".onnx" or (len(text) < 4096 and os.path.isfile(text)):
        if weights is not None:
            raise ConfigError("an ONNX file holds its own weights", hint="leave out --weights")
        return _onnx(text, Path(text), input_shape, answer)
    if not colon:
        beside = Path(f"{text}.onnx")
        forms = "give an ONNX file, package.module:factory, torchvision:NAME, timm:NAME or zoo:NAME"
        hint = f"did you mean {beside}?" if beside.is_file() else forms
        raise LoadError(f"model '{text}' does not exist", hint=hint)
    builders: dict[str, Callable[[str, bool], Source]] = {
        "zoo": _zoo,
        "torchvision": _torchvision,
        "timm": _timm,
    }
    builder = builders.get(kind)
    source = builder(name, weights is None) if builder else _factory(text)
    module = source.module
    assert module is not None
    if weights is not None:
        load_weights(module, weights, note=note)
    elif input_shape is not None:
        size_lazy(module, input_shape)
    require_weights(module)
    return replace(
        source,
        text=text,
        sha256=module_digest(module) if weights is None else file_digest(weights),
        input_shape=input_shape or source.input_shape,
        answer=answer,
        trained=source.trained or weights is not None,
        loaded=source.loaded or weights is not None,
    )


def _onnx(text: str, path: Path, input_shape: tuple[int, ...] | None, answer: str | None) -> Source:
    if not path.is_file():
        raise LoadError(f"{path} does not exist or is no file", hint="check the path")
    found = read_onnx(path, input_shape=input_shape, output=answer)
    graph = found.graph
    shape = tuple(graph.input.attrs["shape"])
    if input_shape not in (None, shape):
        raise ConfigError(f"--input-shape {input_shape} contradicts {path}, which takes {shape}")
    known = read_metadata(path)
    data, settings = known.get("convsnn.data"), known.get("convsnn.preprocessing")
    beside = path.with_suffix(".data.json")
    where = f"the metadata of {path}"
    try:
        preprocessing = json.loads(settings) if settings else {}
        if data is None and beside.is_file():
            where = str(beside)
            described = json.loads(beside.read_text())
            if not isinstance(described, dict) or "data" not in described:
                raise ValueError("it has no 'data'")
            data, preprocessing = described["data"], described.get("preprocessing", {})
        if data is not None and not isinstance(data, str):
            raise ValueError("'data' is not text")
        preprocessed = Preprocessing.from_json(preprocessing)
    except (ValueError, KeyError, TypeError, OSError, RecursionError, ConfigError) as error:
        raise LoadError(
            f"{where} does not describe a data set: {error}",
            hint='it should hold {"data": "mnist5k", "preprocessing": {"mean": [0.1307]}}',
        ) from None
    return Source(
        path.stem,
        text,
        file_digest(path),
        path=path,
        read=graph,
        notes=found.notes,
        input_shape=shape,
        preprocessing=preprocessed,
        data=data,
        described_in=where,
    )


def _zoo(name: str, own_weights: bool) -> Source:
    entry = MODELS.create(name)
    bundled = own_weights and entry.weights is not None
    return Source(
        name,
        name,
        "",
        module=entry.module(weights=bundled),
        input_shape=entry.input_shape,
        preprocessing=entry.preprocessing,
        data=entry.data,
        trained=bundled,
    )


def _torchvision(name: str, own_weights: bool) -> Source:
    from torchvision import models  # slow to import; only this source needs it

    del own_weights
    known = models.list_models()
    if name not in known:
        raise ConfigError(f"torchvision has no model '{name}'", hint=nearest(name, known))
    preset = models.get_model_weights(name).DEFAULT.transforms()
    resize = getattr(preset, "resize_size", [256])
    settings = Preprocessing(
        mean=tuple(getattr(preset, "mean", ())),
        std=tuple(getattr(preset, "std", ())),
        resize=tuple(resize)[:1],
    )
    builder = inspect.signature(models.get_model_builder(name)).parameters
    options: dict[str, Any] = {"weights_backbone": None} if "weights_backbone" in builder else {}
    if name in ("googlenet", "inception_v3"):  # as these are built for the published weights
        options |= {"transform_input": True, "init_weights": False}
    module = models.get_model(name, weights=None, **options)
    # a vision transformer is built for one size, which may not be that of its published weights
    size = getattr(module, "image_size", getattr(preset, "crop_size", [224])[0])
    return Source(
        name,
        name,
        "",
        module=module.eval(),
        input_shape=(3, size, size),
        preprocessing=settings,
        trained=False,
    )


def _timm(name: str, own_weights: bool) -> Source:
    import timm  # slow to import; only this source needs it

    del own_weights
    if not timm.is_model(name):
        raise ConfigError(f"timm has no model '{name}'", hint=nearest(name, timm.list_models()))
    module = timm.create_model(name, pretrained=False).eval()
    config = timm.data.resolve_model_data_config(module)
    shape = tuple(config["input_size"])
    settings = Preprocessing(
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        resize=(int(shape[1] / config["crop_pct"]),),
    )
    return Source(
        name, name, "", module=module, input_shape=shape, preprocessing=settings, trained=False
    )


def _factory(text: str) -> Source:
    return Source(text.rpartition(":")[2], text, "", module=load_factory(text).eval(), loaded=False)
