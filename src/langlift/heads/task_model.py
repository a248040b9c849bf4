"""What the models of all tasks have in common."""

from torch import nn
from transformers import PreTrainedModel


class TaskModel(nn.Module):
    """An encoder body (with whatever adapters are attached to it) and the head of a task."""

    body: PreTrainedModel
    head: nn.Module

    def __init__(self, body: PreTrainedModel, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head
