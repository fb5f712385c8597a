"""Whether what stands in a file as a network's topology has the form of one."""

from collections.abc import Mapping
from typing import Any

from convsnn.errors import LoadError


def check_topology(form: Mapping[str, Any]) -> None:
    """Raise LoadError unless `form` is a list of nodes and a list of outputs."""

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
