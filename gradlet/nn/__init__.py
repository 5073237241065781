"""Layers, losses, optimisers, state and data, built from `Tensor` alone.

A file is loaded when something in it is first asked for.
"""
# ruff: noqa: F403, F405

from typing import TYPE_CHECKING

from gradlet.base.lazy import lazily

if TYPE_CHECKING:
    from gradlet.nn import data, functional, init, optim, state, utils
    from gradlet.nn.activations import *
    from gradlet.nn.attention import *
    from gradlet.nn.cells import *
    from gradlet.nn.containers import *
    from gradlet.nn.functional import (
        avg_pool2d,
        binary_cross_entropy,
        binary_cross_entropy_with_logits,
        conv2d,
        cross_entropy,
        ctc_loss,
        dropout,
        elu,
        gelu,
        leaky_relu,
        linear,
        log_softmax,
        max_pool2d,
        mse_loss,
        nll_loss,
        one_hot,
        relu,
        scaled_dot_product_attention,
        sigmoid,
        silu,
        softmax,
        softplus,
        tanh,
    )
    from gradlet.nn.layers import *
    from gradlet.nn.losses import *
    from gradlet.nn.normalization import *
    from gradlet.nn.padding import *
    from gradlet.nn.pooling import *
    from gradlet.nn.recurrent import *
    from gradlet.nn.resampling import *
    from gradlet.nn.spatial import *
    from gradlet.nn.transformer import *

__all__ = [
    "Bilinear", "Dropout", "Embedding", "Linear",
    "BatchNorm", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "InstanceNorm1d",
    "InstanceNorm2d", "InstanceNorm3d", "LayerNorm", "RMSNorm",
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    "Flatten", "Identity", "Unflatten",
    "CELU", "Dropout1d", "Dropout2d", "Dropout3d", "ELU", "GELU", "GLU", "Hardshrink",
    "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid", "LogSoftmax", "Mish",
    "PReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softmax", "Softmax2d", "Softmin",
    "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Threshold",
    "ModuleDict", "ModuleList", "Sequential",
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "LPPool1d",
    "LPPool2d", "LPPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d",
    "MaxUnpool3d",
    "BCELoss", "BCEWithLogitsLoss", "CTCLoss", "CosineEmbeddingLoss", "CosineSimilarity",
    "CrossEntropyLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "NLLLoss",
    "PairwiseDistance", "SmoothL1Loss", "TripletMarginLoss",
    "MultiheadAttention",
    "Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder",
    "TransformerEncoderLayer",
    "GRUCell", "LSTMCell", "RNNCell",
    "GRU", "LSTM", "RNN",
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d",
    "ConstantPad3d", "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d",
    "ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d",
    "ZeroPad3d",
    "ChannelShuffle", "Fold", "PixelShuffle", "PixelUnshuffle", "Unfold", "Upsample",
    "UpsamplingBilinear2d", "UpsamplingNearest2d",
    "avg_pool2d", "binary_cross_entropy", "binary_cross_entropy_with_logits", "conv2d",
    "cross_entropy", "ctc_loss", "dropout", "elu", "gelu", "leaky_relu", "linear",
    "log_softmax", "max_pool2d", "mse_loss", "nll_loss", "one_hot", "relu",
    "scaled_dot_product_attention", "sigmoid", "silu", "softmax", "softplus", "tanh",
    "data", "functional", "init", "optim", "state", "utils",
]  # fmt: skip

_FILES = (
    "layers", "normalization", "spatial", "activations", "containers", "pooling", "losses",
    "attention", "transformer", "cells", "recurrent", "padding", "resampling", "functional",
    "init", "optim", "state", "data", "utils",
)  # fmt: skip

if not TYPE_CHECKING:
    __getattr__ = lazily(__name__, __all__, _FILES)
