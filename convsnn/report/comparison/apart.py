"""The best row of a comparison, and which others the scored images do not tell apart from it.

Each row keeps which answers after the last step were right, as the hexadecimal digits of one bit an
image, so that two rows can be held against one another image by image (`convsnn.measure.paired`);
where one has none the numbers of right answers alone decide. The best was found on these very
images, which is why a lead that they do not prove must not be taken for one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convsnn.measure.paired import loss, loss_of_shares
from convsnn.report.wording import counted

FEW = 4  # names that a terminal has room for
LEVEL = "95 %"

Comparison = Mapping[str, Any]
Row = Mapping[str, Any]


def as_digits(right: Tensor) -> str:
    """Which of the answers (N,) are right, as text."""
    return np.packbits(right.cpu().numpy()).tobytes().hex()


def from_digits(text: object, samples: int) -> Tensor | None:
    """The answers (N,) of `as_digits`; None for what is none of `samples` images."""
    try:
        packed = np.frombuffer(bytes.fromhex(text), np.uint8) if isinstance(text, str) else None
    except ValueError:
        return None
    if packed is None or len(packed) != -(-samples // 8):
        return None
    return torch.from_numpy(np.unpackbits(packed)[:samples].astype(bool))


def best_row(comparison: Comparison) -> Row | None:
    """The row with the best score after the last step, of equals the one that costs least."""
    last = str(comparison["timesteps"])
    return max(
        comparison["methods"],
        key=lambda one: (one["score"][last], -one["energy"][last]),
        default=None,
    )


def best_section(
    comparison: Comparison, digits: Mapping[str, object], *, samples: int, shares: bool
) -> dict[str, Any] | None:
    """The best row, and the loss of each other against it; None without rows.

    `digits` are the answers of rows by name; `shares` says that scores are shares of right answers,
    without which nothing is told apart.
    """
    best = best_row(comparison)
    if best is None:
        return None
    section: dict[str, Any] = {"name": best["name"], "samples": samples}
    if not (shares and samples):
        return {**section, "behind": None, "not_told_apart": None}
    last, behind = str(comparison["timesteps"]), {}
    answers = {
        one["name"]: _answers(digits.get(one["name"]), one["score"][last], samples)
        for one in comparison["methods"]
    }
    for one in comparison["methods"]:
        if one is best:
            continue
        mine, theirs = answers[best["name"]], answers[one["name"]]
        if mine is not None and theirs is not None:
            drop, low, high = (float(end[0]) for end in loss(theirs[None], mine))
        else:
            share, before = one["score"][last], best["score"][last]
            drop, low, high = loss_of_shares(share, before, samples=samples)
        behind[one["name"]] = {"drop": drop, "low": low, "high": high}
    close = [name for name, found in behind.items() if found["low"] <= 0]
    return {**section, "behind": behind, "not_told_apart": close}


def _answers(text: object, score: float, samples: int) -> Tensor | None:
    """The answers of a row, where they are those that its score is of."""
    found = from_digits(text, samples)
    return found if found is not None and abs(float(found.sum()) - samples * score) < 0.5 else None


def close_in_words(comparison: Comparison, *, most: int | None = FEW) -> str:
    """What the scored images say of the best row's lead, in one sentence; empty where there is
    nothing to say, as in documents of an earlier version."""
    found = comparison.get("best")
    if found is None or len(comparison["methods"]) < 2:
        return ""
    where = f"{counted(found['samples'], 'sample')} that it was chosen on"
    close = found["not_told_apart"]
    if close is None:
        return f"chosen on the {counted(found['samples'], 'sample')} that were scored"
    if not close:
        return f"told apart from all others by the {where} ({LEVEL})"
    titles = [one["title"] for one in comparison["methods"] if one["name"] in close]
    return f"not told apart by the {where} ({LEVEL}): {_listed(titles, most)}"


def _listed(titles: Sequence[str], most: int | None) -> str:
    """All names, some of which have commas, or the first few and how many more."""
    if most is not None and len(titles) > most + 1:
        titles = [*titles[:most], f"{len(titles) - most} more"]
    return "; ".join(titles)
