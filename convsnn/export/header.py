"""The header of an artifact: which keys it has, of which type, and the form of its topology."""

from collections.abc import Mapping
from typing import Any

from convsnn.errors import LoadError
from convsnn.plugins import require_loaded

FORMAT = 1
KIND = "spiking network"
_FIELDS = {
    "topology": dict, "neuron": str, "encoder": str, "readout": str,
    "record": list, "provenance": dict, "versions": dict, "sha256": str,
}  # fmt: skip


def check_header(header: Any) -> None:
    """Raise LoadError where `header` is not one that this version reads."""
    if not isinstance(header, dict):
        raise LoadError("the header is no JSON object")
    number, kind = header.get("format"), header.get("kind")
    if type(number) is not int or number < 1:
        raise LoadError("the header names no format version")
    if number > FORMAT:
        versions = header.get("versions")
        writer = versions.get("convsnn", "?") if isinstance(versions, dict) else "?"
        raise LoadError(
            f"format version {number} is newer than {FORMAT}, the newest this convsnn reads",
            hint=f"the file was written by convsnn {writer}: install that version or a newer one",
        )
    if kind != KIND:
        raise LoadError(f"the file holds {kind!r}, not a {KIND}")
    require_loaded(header.get("plugins", []))
    for key, wanted in _FIELDS.items():
        if not isinstance(header.get(key), wanted):
            raise LoadError(f"the header's '{key}' is missing or of the wrong type")
    if not all(isinstance(entry, dict) for entry in header["record"]):
        raise LoadError("the header's 'record' is not a list of objects")
    _check_topology(header["topology"])


def _check_topology(form: Mapping[str, Any]) -> None:
    def texts(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(part, str) for part in value)

    def is_node(entry: Any) -> bool:
        if not isinstance(entry, list) or len(entry) != 5:
            return False
        name, op, inputs, attrs, source = entry
        return texts([name, op, source]) and texts(inputs) and isinstance(attrs, dict)

    nodes = form.get("nodes")
    if not isinstance(nodes, list) or not texts(form.get("outputs")):
        raise LoadError("the topology needs a list of nodes and a list of outputs")
    for place, entry in enumerate(nodes):
        if not is_node(entry):
            raise LoadError(
                f"node {place} of the topology is not [name, op, inputs, attrs, source]"
            )
