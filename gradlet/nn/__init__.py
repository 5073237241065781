"""Layers, losses, optimisers, state and data, built from `Tensor` alone."""

from gradlet.nn import (
    activations,
    attention,
    cells,
    containers,
    data,
    functional,
    init,
    layers,
    losses,
    normalization,
    optim,
    padding,
    pooling,
    recurrent,
    resampling,
    spatial,
    state,
    transformer,
    utils,
)
from gradlet.nn.activations import *  # noqa: F403
from gradlet.nn.attention import *  # noqa: F403
from gradlet.nn.cells import *  # noqa: F403
from gradlet.nn.containers import *  # noqa: F403
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
from gradlet.nn.layers import *  # noqa: F403
from gradlet.nn.losses import *  # noqa: F403
from gradlet.nn.normalization import *  # noqa: F403
from gradlet.nn.padding import *  # noqa: F403
from gradlet.nn.pooling import *  # noqa: F403
from gradlet.nn.recurrent import *  # noqa: F403
from gradlet.nn.resampling import *  # noqa: F403
from gradlet.nn.spatial import *  # noqa: F403
from gradlet.nn.transformer import *  # noqa: F403

__all__ = [
    "avg_pool2d", "binary_cross_entropy", "binary_cross_entropy_with_logits", "conv2d",
    "cross_entropy", "ctc_loss", "dropout", "elu", "gelu", "leaky_relu", "linear", "log_softmax",
    "max_pool2d", "mse_loss", "nll_loss", "one_hot", "relu", "scaled_dot_product_attention",
    "sigmoid", "silu", "softmax", "softplus", "tanh",
    "data", "functional", "init", "optim", "state", "utils",
]  # fmt: skip
__all__ += activations.__all__
__all__ += attention.__all__
__all__ += cells.__all__
__all__ += containers.__all__
__all__ += layers.__all__
__all__ += losses.__all__
__all__ += normalization.__all__
__all__ += padding.__all__
__all__ += pooling.__all__
__all__ += recurrent.__all__
__all__ += resampling.__all__
__all__ += spatial.__all__
__all__ += transformer.__all__
