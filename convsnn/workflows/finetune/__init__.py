"""Training a converted network for few time steps."""

from convsnn.workflows.finetune.given import finetune_given, finetune_into
from convsnn.workflows.finetune.saved import Finetuned, finetune_saved

__all__ = ["Finetuned", "finetune_given", "finetune_into", "finetune_saved"]
