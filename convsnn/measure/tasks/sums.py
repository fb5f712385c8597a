"""The library's metrics as sums that can be added up over batches, steps and processes.

torchmetrics takes seconds to import, so only tasks that use it pay for it, when they do.
"""

import warnings
from typing import Any

import torch
from torch import Tensor

from convsnn.errors import MissingExtraError


def _metric(name: str, columns: int) -> Any:
    """A metric of `columns` independent answers per sample; numbers are added up in float64."""
    try:
        from torchmetrics import classification, regression
    except ImportError:
        raise MissingExtraError("torchmetrics", "all") from None
    makers = {
        "R2Score": lambda: regression.R2Score(multioutput="raw_values"),
        "MeanSquaredError": lambda: regression.MeanSquaredError(num_outputs=columns),
        "MultilabelF1Score": lambda: classification.MultilabelF1Score(
            num_labels=columns, average="none", validate_args=False
        ),
        "MulticlassJaccardIndex": lambda: classification.MulticlassJaccardIndex(
            num_classes=columns, average="none", validate_args=False
        ),
    }
    metric: Any = makers[name]()  # type: ignore[no-untyped-call]
    return metric.set_dtype(torch.float64) if name in ("R2Score", "MeanSquaredError") else metric


def summed(name: str, got: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    """The metric's sums over one batch; `got` and `wanted` are (B, columns)."""
    metric = _metric(name, got.shape[1]).to(got.device)
    metric.update(got, wanted)
    return {key: value.detach().cpu() for key, value in metric.metric_state.items()}


def combined(name: str, sums: dict[str, Tensor]) -> Tensor:
    """The metric's value for each column, from its sums over all samples."""
    columns = max(value.shape[0] if value.dim() else 1 for value in sums.values())
    metric = _metric(name, columns)
    metric.merge_state(sums)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that nothing was shown to this very object
        value: Tensor = metric.compute()
    return value.double().reshape(-1)
