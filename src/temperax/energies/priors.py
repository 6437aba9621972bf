"""Priors over the weights of a network.

A prior says, for one layer, which NumPyro distribution each of its leaves has; an `Energy` then owns a tree of
distributions, from which it takes normalised log densities, exact draws and the transforms of constrained
parameters.  All biases and weights are independent given the prior's own scale parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpyro.distributions as dist
from numpyro.distributions import Distribution

from temperax.errors import InputError, check_positive


class Prior:
    """What every prior answers: the scalar distribution of a weight and of a bias, given the fan-in.

    See Also
    --------
    temperax.Energy.mlp, temperax.priors.Normal

    Examples
    --------
    >>> type(tx.priors.Laplace(0.5).weight(10)).__name__
    'Laplace'
    """

    def weight(self, fan_in: int) -> Distribution:
        """Scalar distribution of each weight of a layer with ``fan_in`` inputs."""
        raise NotImplementedError

    def bias(self, fan_in: int) -> Distribution:
        """Scalar distribution of each bias of a layer with ``fan_in`` inputs."""
        return self.weight(fan_in)

    def layer(self, fan_in: int, fan_out: int) -> dict[str, Distribution]:
        """Distributions of the leaves of one layer: ``weight`` (fan_in, fan_out) and ``bias`` (fan_out,)."""
        return {
            "weight": self.weight(fan_in).expand([fan_in, fan_out]).to_event(2),
            "bias": self.bias(fan_in).expand([fan_out]).to_event(1),
        }


@dataclass(frozen=True)
class Normal(Prior):
    """N(0, scale²) on every weight and bias.

    See Also
    --------
    temperax.priors.FanInNormal

    Examples
    --------
    >>> narrow = tx.Energy.mlp(data, (3,), prior=tx.priors.Normal(0.1))
    >>> bool(jnp.abs(narrow.sample_prior(key)).max() < 1)
    True
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)

    def weight(self, fan_in: int) -> Distribution:
        """N(0, scale²)."""
        return dist.Normal(0.0, self.scale)


@dataclass(frozen=True)
class FanInNormal(Prior):
    """N(0, scale²/fan_in) on weights and N(0, bias_scale²) on biases.

    Keeps the prior over functions finite as layers widen (Neal 1996, *Bayesian Learning for Neural Networks*).

    See Also
    --------
    temperax.priors.Normal, temperax.recipes.tabular_energy

    Examples
    --------
    >>> float(tx.priors.FanInNormal(2.0).weight(16).scale)  # 2 / √16
    0.5
    """

    scale: float = 1.0
    bias_scale: float = 1.0

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)
        check_positive("bias_scale", self.bias_scale)

    def weight(self, fan_in: int) -> Distribution:
        """N(0, scale²/fan_in)."""
        return dist.Normal(0.0, self.scale / fan_in**0.5)

    def bias(self, fan_in: int) -> Distribution:
        """N(0, bias_scale²)."""
        return dist.Normal(0.0, self.bias_scale)


@dataclass(frozen=True)
class Laplace(Prior):
    """Laplace(0, scale) on every weight and bias: the L1 penalty of training.

    See Also
    --------
    temperax.priors.StudentT

    Examples
    --------
    >>> mixed = tx.Energy.mlp(data, (3,), prior={"layer_0": tx.priors.Laplace(0.5), "default": tx.priors.Normal(1.0)})
    >>> mixed.size
    11
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)

    def weight(self, fan_in: int) -> Distribution:
        """Laplace(0, scale)."""
        return dist.Laplace(0.0, self.scale)


@dataclass(frozen=True)
class StudentT(Prior):
    """Student-t with ``df`` degrees of freedom and the given scale on every weight and bias.

    See Also
    --------
    temperax.priors.Laplace

    Examples
    --------
    >>> float(tx.priors.StudentT(df=3.0, scale=0.5).weight(10).df)
    3.0
    """

    df: float = 3.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_positive("df", self.df)
        check_positive("scale", self.scale)

    def weight(self, fan_in: int) -> Distribution:
        """StudentT(df, 0, scale)."""
        return dist.StudentT(self.df, 0.0, self.scale)


@dataclass(frozen=True)
class Elementwise(Prior):
    """Any scalar NumPyro distribution on the whole real line, on every weight and bias."""

    distribution: Distribution

    def __post_init__(self) -> None:
        d = self.distribution
        if not isinstance(d, Distribution) or d.batch_shape or d.event_shape:
            raise InputError("distribution", d, "is not a scalar NumPyro distribution", "give one such as Normal(0, 1)")
        if d.support is not dist.constraints.real:
            raise InputError("distribution", d, "does not cover the real line", "give one such as Normal(0, 1)")

    def weight(self, fan_in: int) -> Distribution:
        """The given distribution."""
        return self.distribution


@dataclass(frozen=True)
class ARD(Prior):
    """Automatic relevance determination: a learned scale for each input of the layer.

    Weight (i, j) is ``input_scale[i] * weight[i, j]`` with a standard normal factor (times ``scale``), so that the
    funnel between a scale and its weights is sampled in its non-centred form (MacKay 1994; Neal 1996; Papaspiliopoulos
    et al. 2007).  Used for a whole network it acts on the first layer; the layers above have N(0, scale²).

    See Also
    --------
    temperax.studies.relevance

    Examples
    --------
    >>> relevant = tx.Energy.mlp(tx.datasets.load("diabetes"), (3,), prior=tx.priors.ARD())
    >>> [name for name in relevant.names if "scale" in name]
    ['layer_0_input_scale', 'noise_scale']
    """

    scale: float = 1.0
    input_scale: Distribution = field(default_factory=lambda: dist.HalfNormal(1.0))

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)
        check_scale_prior("input_scale", self.input_scale)

    def weight(self, fan_in: int) -> Distribution:
        """N(0, scale²), before the input's scale multiplies it."""
        return dist.Normal(0.0, self.scale)

    def layer(self, fan_in: int, fan_out: int) -> dict[str, Distribution]:
        """The layer's leaves and ``input_scale`` (fan_in,)."""
        return super().layer(fan_in, fan_out) | {"input_scale": self.input_scale.expand([fan_in]).to_event(1)}


type PriorLike = Prior | Distribution | Mapping[str, "Prior | Distribution"]


def check_scale_prior(argument: str, prior: object) -> Distribution:
    """Return ``prior`` if it is a scalar NumPyro distribution over the positive numbers."""
    positive = (dist.constraints.positive, dist.constraints.softplus_positive)
    if not isinstance(prior, Distribution) or prior.batch_shape or prior.event_shape or prior.support not in positive:
        raise InputError(
            argument,
            prior,
            "is not a scalar NumPyro distribution over positive numbers",
            "give one such as HalfNormal(1)",
        )
    return prior


def network_prior(prior: PriorLike, sizes: tuple[int, ...]) -> dict[str, dict[str, Distribution]]:
    """The distributions of all layers of a network with the given layer sizes (inputs first, outputs last).

    Parameters
    ----------
    prior
        One prior (or scalar NumPyro distribution) for all layers, or a mapping from ``layer_0``, ``layer_1``, … to
        the layer's own, where ``default`` serves the layers that are not named.
    sizes
        ``(inputs, hidden …, outputs)``.

    Raises
    ------
    InputError
        For anything that is not a prior, and for names of layers that do not exist.
    """
    names = [f"layer_{i}" for i in range(len(sizes) - 1)]
    if isinstance(prior, Mapping):
        unknown = set(prior) - set(names) - {"default"}
        if unknown:
            known = ", ".join([*names, "default"])
            raise InputError("prior", sorted(map(str, unknown)), "names layers that do not exist", f"use {known}")
        chosen = {name: prior.get(name, prior.get("default", Normal())) for name in names}
    else:
        chosen = dict.fromkeys(names, prior)
        if isinstance(prior, ARD):  # the scales belong to the data's inputs
            chosen |= dict.fromkeys(names[1:], Normal(prior.scale))
    layers = zip(chosen.items(), sizes[:-1], sizes[1:], strict=True)
    return {name: as_prior(p).layer(fan_in, fan_out) for (name, p), fan_in, fan_out in layers}


def as_prior(prior: object) -> Prior:
    """A prior, or a scalar distribution as one."""
    if isinstance(prior, Distribution):
        return Elementwise(prior)
    if not isinstance(prior, Prior) or type(prior) is Prior:
        raise InputError("prior", prior, "is not a prior", "give one of temperax.priors or a NumPyro distribution")
    return prior
