"""What a node of a file is called, and where in the user's code it was written."""

import hashlib
import re
from pathlib import PurePath

import onnx

from convsnn.load.builder import layer_name

_LONGEST = 120  # letters of a layer's name
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_QUOTED = re.compile(r"'([^']*)'")
_TRACE = "pkg.torch.onnx.stack_trace"
_SCOPES = "pkg.torch.onnx.name_scopes"  # module paths from outside in, then the op's own name
_CLASSES = "pkg.torch.onnx.class_hierarchy"  # of the same


def label_of(node: onnx.NodeProto) -> str:
    """The layer's name, short enough to stand in a table."""
    label = _layer(node) or node.name or next(filter(None, node.output), node.op_type)
    return label if len(label) <= _LONGEST else _shortened(label)


def _shortened(name: str) -> str:
    """A name that can stand in a table and in a file's name, and is still unique."""
    return f"{name[:80]}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _noted(node: onnx.NodeProto, key: str) -> str:
    return next((entry.value for entry in node.metadata_props if entry.key == key), "")


def _layer(node: onnx.NodeProto) -> str:
    """The user's name of the layer, as for a torch module, where torch's exporter wrote it down."""
    scopes, classes = (_QUOTED.findall(_noted(node, key)) for key in (_SCOPES, _CLASSES))
    if not 1 < len(scopes) == len(classes):
        return ""
    weight = next((name for name in node.input if name.endswith(".weight")), "")
    if weight:  # a fused layer is noted under the last module that went into it
        return weight.removesuffix(".weight")
    path, kind = scopes[-2], classes[-2]
    return layer_name(path, kind, re.sub(r"_\d+$", "", scopes[-1]))


def source_of(node: onnx.NodeProto) -> str:
    """`file.py:12` of the innermost frame outside torch that torch's exporter wrote down."""
    trace = _noted(node, _TRACE)
    frames = [f for f in _FRAME.findall(trace) if "/torch/" not in f[0].replace("\\", "/")]
    return f"{PurePath(frames[-1][0]).name}:{frames[-1][1]}" if frames else ""
