"""Layers, losses, optimisers, state and data, built from `Tensor` alone."""

from gradlet.nn import (
    activations,
    data,
    functional,
    losses,
    optim,
    padding,
    pooling,
    resampling,
    state,
)
from gradlet.nn.activations import *  # noqa: F403
from gradlet.nn import data, functional, optim, state, utils
from gradlet.nn.functional import (
    avg_pool2d,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    conv2d,
    cross_entropy,
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
from gradlet.nn.layers import (
    BatchNorm,
    BatchNorm2d,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    Sequential,
)
from gradlet.nn.losses import *  # noqa: F403
from gradlet.nn.padding import *  # noqa: F403
from gradlet.nn.pooling import *  # noqa: F403
from gradlet.nn.resampling import *  # noqa: F403
from gradlet.nn.spatial import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    Flatten,
    Identity,
    Unflatten,
)

__all__ = [
    "BatchNorm",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Dropout",
    "Embedding",
    "Flatten",
    "Identity",
    "LayerNorm",
    "Linear",
    "Sequential",
    "Unflatten",
    "avg_pool2d",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv2d",
    "cross_entropy",
    "data",
    "dropout",
    "elu",
    "functional",
    "gelu",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "optim",
    "relu",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "state",
    "tanh",
    "utils",
]
__all__ += activations.__all__
__all__ += losses.__all__
__all__ += padding.__all__
__all__ += pooling.__all__
__all__ += resampling.__all__
