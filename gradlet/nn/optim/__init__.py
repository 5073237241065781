"""Optimisers with PyTorch's formulas and defaults, and those of papers that it does not have."""

from typing import TYPE_CHECKING

from gradlet.base.lazy import lazily

if TYPE_CHECKING:
    from gradlet.nn.optim import lr_scheduler
    from gradlet.nn.optim.adam import Adam, AdamW
    from gradlet.nn.optim.adam_kin import Adamax, NAdam, RAdam
    from gradlet.nn.optim.adaptive import Adadelta, Adagrad, RMSprop
    from gradlet.nn.optim.ema import EMA, AveragedModel, get_ema_avg_fn, get_swa_avg_fn
    from gradlet.nn.optim.groups import ParamGroup
    from gradlet.nn.optim.layerwise import LAMB, LARS
    from gradlet.nn.optim.lion import Lion
    from gradlet.nn.optim.lr_scheduler import (
        SWALR,
        ChainedScheduler,
        ConstantLR,
        CosineAnnealingLR,
        CosineAnnealingWarmRestarts,
        CyclicLR,
        ExponentialLR,
        LambdaLR,
        LinearLR,
        LRScheduler,
        MultiplicativeLR,
        MultiStepLR,
        OneCycleLR,
        PolynomialLR,
        ReduceLROnPlateau,
        SequentialLR,
        StepLR,
    )
    from gradlet.nn.optim.muon import Muon
    from gradlet.nn.optim.optimizer import Optimizer
    from gradlet.nn.optim.sgd import SGD
    from gradlet.nn.optim.together import OptimizerGroup

__all__ = [
    "LAMB",
    "LARS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "OptimizerGroup",
    "ParamGroup",
    "RAdam",
    "RMSprop",
    "EMA",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_swa_avg_fn",
    "lr_scheduler",
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

_FILES = (
    "optimizer", "groups", "adam", "sgd", "lr_scheduler", "adaptive", "adam_kin", "lion",
    "layerwise", "muon", "ema", "together", "saved",
)  # fmt: skip

if not TYPE_CHECKING:
    __getattr__ = lazily(__name__, __all__, _FILES)
