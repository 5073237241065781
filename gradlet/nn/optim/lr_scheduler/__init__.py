"""Schedules of learning rates, with PyTorch's names, arguments and curves."""

from gradlet.nn.optim.lr_scheduler.base import LRScheduler
from gradlet.nn.optim.lr_scheduler.composed import (
    ChainedScheduler,
    ReduceLROnPlateau,
    SequentialLR,
)
from gradlet.nn.optim.lr_scheduler.cycles import (
    SWALR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    OneCycleLR,
)
from gradlet.nn.optim.lr_scheduler.factors import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SWALR",
    "SequentialLR",
    "StepLR",
]
