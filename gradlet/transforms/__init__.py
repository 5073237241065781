"""Functions of functions: gradients, Jacobians, and one example turned into many."""

from gradlet.transforms.checkpoint import checkpoint
from gradlet.transforms.custom import custom_vjp
from gradlet.transforms.gradients import grad, jvp, value_and_grad, vjp
from gradlet.transforms.jacobians import hessian, jacfwd, jacobian
from gradlet.transforms.vmap import vmap

__all__ = [
    "checkpoint",
    "custom_vjp",
    "grad",
    "hessian",
    "jacfwd",
    "jacobian",
    "jvp",
    "value_and_grad",
    "vjp",
    "vmap",
]
