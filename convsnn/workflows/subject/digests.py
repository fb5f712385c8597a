"""SHA-256 of what a network was read from, which tells one model from another."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convsnn.graph import Graph
from convsnn.load.wrappers import unwrap


def file_digest(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def module_digest(module: nn.Module) -> str:
    """Of a module's parameters and buffers, without the wrappers around it."""
    return _digest(unwrap(module).state_dict())


def graph_digest(graph: Graph) -> str:
    """Of a graph's tensors."""
    return _digest(graph.tensors)


def _digest(tensors: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(name.encode())
        if not isinstance(tensor, Tensor) or tensor.is_quantized:  # of modules that torch quantised
            digest.update(repr(tensor).encode())
            continue
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
