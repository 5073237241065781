"""Optimisers with PyTorch's formulas and defaults."""

from gradlet.nn.optim.adam import Adam, AdamW
from gradlet.nn.optim.groups import ParamGroup
from gradlet.nn.optim.optimizer import Optimizer, OptimizerGroup
from gradlet.nn.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "OptimizerGroup", "ParamGroup"]
