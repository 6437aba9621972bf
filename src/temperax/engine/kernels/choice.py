"""Kernels by name, and what is known of each kind."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from temperax.energies.energy import Energy
from temperax.energies.models import NetworkModel
from temperax.engine.kernels.hmc import HMC
from temperax.engine.kernels.kernel import Kernel
from temperax.engine.kernels.microcanonical import MAMS, MCLMC
from temperax.engine.kernels.nuts import NUTS
from temperax.engine.kernels.rescaling import Alternating, Rescaling
from temperax.errors import InputError, check_choice

type KernelLike = str | Kernel | Alternating

KERNELS: Mapping[str, type] = {"hmc": HMC, "nuts": NUTS, "mams": MAMS, "mclmc": MCLMC}


def as_kernel(kernel: object, energy: Energy, *, on_a_ladder: bool = False) -> Kernel | Alternating:
    """A kernel from its name or itself; ``"auto"`` fits the energy.

    A network's many parameters agree on one length of trajectory, which HMC finds for half of NUTS's gradients.  In a
    posterior of a user's own few wide directions may hide among many narrow ones, and a tree is as long as they need.
    On a ladder the prior is far wider than these, and leads to them through funnels, where HMC takes shorter steps.
    Scales of ReLU units are drawn in between.

    See Also
    --------
    temperax.sample

    Examples
    --------
    >>> type(tx.kernels.as_kernel("auto", energy)).__name__
    'HMC'
    """
    if isinstance(kernel, str):
        networks = isinstance(getattr(energy, "model", None), NetworkModel)
        auto = kernel == "auto"
        named: Any = check_choice("kernel", kernel, {**KERNELS, "auto": HMC if networks or on_a_ladder else NUTS})()
        if auto and Rescaling.fits(energy):
            return Alternating(named)
        kernel = named
    if isinstance(kernel, Alternating):
        kernel.check(energy)
        inner: Any = as_kernel(kernel.kernel, energy, on_a_ladder=on_a_ladder)
        return Alternating(inner, kernel.moves)
    if not isinstance(kernel, Kernel):
        raise InputError(
            "kernel", kernel, "is not a kernel", "give 'hmc', 'nuts', 'mams', 'mclmc', HMC(...) or an Explorer"
        )
    if isinstance(kernel, (HMC, NUTS, MAMS)):
        kernel.check()
    if jax.tree_util.all_leaves([kernel]):
        raise InputError("kernel", kernel, "is no pytree", "decorate its class with jax.tree_util.register_dataclass")
    fitted: Any = kernel.fitted(getattr(energy, "size", 1)) if isinstance(kernel, MCLMC) else kernel
    return fitted


def most_steps(kernel: Kernel) -> float:
    """Steps of the longest trajectory that a kernel makes; infinite where it has no cap."""
    if isinstance(kernel, NUTS):
        return 2**kernel.max_tree_depth - 1
    return float(getattr(kernel, "max_steps", jnp.inf))
