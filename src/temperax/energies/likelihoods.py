"""Likelihoods: what a network's outputs say about a row of targets.

Each likelihood maps the outputs of the network to a NumPyro distribution over the targets, so that densities are
normalised, predictive draws are exact, and a fixed parameter becomes a learned one when a prior stands in its place:
``Gaussian(scale=0.1)`` against ``Gaussian(scale=HalfNormal(1.0))``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float
from numpyro.distributions import Distribution

from temperax.energies.counts import LogPoisson
from temperax.energies.priors import check_scale_prior
from temperax.errors import MOST, InputError, check_count, check_positive
from temperax.machine.sharding import apart

type Parameter = float | Distribution

#: Class numbers up to here are exact in single precision.
MOST_CLASSES = 2**24


class Likelihood:
    """What every likelihood answers.

    See Also
    --------
    temperax.Energy.mlp, temperax.likelihoods.Gaussian

    Examples
    --------
    >>> issubclass(tx.likelihoods.Poisson, tx.likelihoods.Likelihood)
    True
    """

    #: Kind of target: ``regression``, ``classification`` or ``counts``.
    task: ClassVar[str]
    #: Parameters that must be positive.
    positive: ClassVar[tuple[str, ...]] = ()

    def num_outputs(self, y: np.ndarray) -> int:
        """Outputs that the network needs for targets ``y`` (row, target)."""
        return y.shape[1]

    def fitted(self, y: np.ndarray, classes: Sequence[str]) -> Self:
        """The likelihood with what it takes from the targets, and from the names of their classes."""
        return self

    def check_targets(self, argument: str, y: np.ndarray) -> None:
        """Raise `InputError` where the targets are outside the likelihood's support."""

    def check_parameters(self) -> None:
        """Raise `InputError` where a fixed parameter that was given as an array is not one positive number."""
        for name in self.positive:
            value = getattr(self, name)
            if isinstance(value, jax.Array):
                check_positive(name, value.item() if value.ndim == 0 else value)

    def parameters(self, num_targets: int) -> dict[str, Distribution]:
        """Priors of the learned parameters, one value a target."""
        learned = {k: v for k, v in vars(self).items() if isinstance(v, Distribution)}
        return {name: prior.expand([num_targets]).to_event(1) for name, prior in learned.items()}

    def distribution(self, outputs: Float[Array, "row output"], parameters: dict[str, Array]) -> Distribution:
        """Distribution of the targets, with batch shape (row,) and event shape (target,)."""
        raise NotImplementedError

    def mean(self, outputs: Float[Array, "row output"], parameters: dict[str, Array]) -> Float[Array, "row value"]:
        """Expected targets (row, target), or probabilities (row, class) of a categorical: the f(x) of diagnostics."""
        return self.distribution(outputs, parameters).mean


def _parameter(likelihood: Likelihood, name: str, learned: dict[str, Array]) -> Array | float:
    """The learned value where there is one, else the fixed one."""
    return learned.get(name, getattr(likelihood, name))


def _check_parameter(name: str, value: object) -> None:
    if isinstance(value, Distribution):
        check_scale_prior(name, value)
    elif not isinstance(value, (jax.Array, jax.stages.ArgInfo)):  # they arise when JAX rebuilds the pytree
        check_positive(name, value)


def _half_normal() -> Distribution:
    return dist.HalfNormal(1.0)


@register_dataclass
@dataclass(frozen=True)
class Gaussian(Likelihood):
    """N(output, scale²) per target; the scale is fixed (a number) or learned (a prior).

    In deviations of the training targets, by which a data set scales them; with ``standardise=False`` in their units.

    See Also
    --------
    temperax.likelihoods.StudentT, temperax.likelihoods.HeteroscedasticGaussian

    Examples
    --------
    >>> fixed = tx.Energy.mlp(data, (3,), likelihood=tx.likelihoods.Gaussian(0.3))
    >>> learned = tx.Energy.mlp(data, (3,), likelihood=tx.likelihoods.Gaussian())
    >>> learned.size - fixed.size  # the noise scale
    1
    """

    scale: Parameter = field(default_factory=_half_normal)
    task: ClassVar[str] = "regression"
    positive: ClassVar[tuple[str, ...]] = ("scale",)

    def __post_init__(self) -> None:
        _check_parameter("scale", self.scale)

    def distribution(self, outputs: Float[Array, "row output"], parameters: dict[str, Array]) -> Distribution:
        """Normal around the outputs."""
        return dist.Normal(outputs, _parameter(self, "scale", parameters)).to_event(1)


@register_dataclass
@dataclass(frozen=True)
class HeteroscedasticGaussian(Likelihood):
    """N(m, s²) with both m and s = min_scale + softplus(raw) outputs of the network.

    In deviations of the training targets, by which a data set scales them; with ``standardise=False`` in their units.

    See Also
    --------
    temperax.likelihoods.Gaussian

    Examples
    --------
    >>> tx.Energy.mlp(data, (3,), likelihood=tx.likelihoods.HeteroscedasticGaussian()).size  # two outputs
    14
    """

    min_scale: float = 1e-3
    task: ClassVar[str] = "regression"
    positive: ClassVar[tuple[str, ...]] = ("min_scale",)

    def __post_init__(self) -> None:
        if isinstance(self.min_scale, Distribution):
            raise InputError("min_scale", self.min_scale, "cannot be learned", "give a positive number such as 1e-3")
        _check_parameter("min_scale", self.min_scale)

    def num_outputs(self, y: np.ndarray) -> int:
        """A mean and a raw scale for every target."""
        return 2 * y.shape[1]

    def distribution(self, outputs: Float[Array, "row output"], parameters: dict[str, Array]) -> Distribution:
        """Normal whose mean is the first half of the outputs."""
        mean, raw = jnp.split(outputs, 2, axis=-1)
        # Apart, since a compiler repeats a softplus in everything that asks for it (`benchmarks/NOTES.md`).
        scale = apart(self.min_scale + jax.nn.softplus(raw))
        return dist.Normal(mean, scale).to_event(1)


@register_dataclass
@dataclass(frozen=True)
class StudentT(Likelihood):
    """Student-t around the output: a Gaussian that forgives outliers; ``df`` and ``scale`` fixed or learned.

    See Also
    --------
    temperax.likelihoods.Gaussian

    Examples
    --------
    >>> robust = tx.Energy.mlp(data, (3,), likelihood=tx.likelihoods.StudentT(df=4.0))
    >>> robust.names
    ['layer_0_bias', 'layer_0_weight', 'layer_1_bias', 'layer_1_weight', 'noise_scale']
    """

    df: Parameter = 4.0
    scale: Parameter = field(default_factory=_half_normal)
    task: ClassVar[str] = "regression"
    positive: ClassVar[tuple[str, ...]] = ("df", "scale")

    def __post_init__(self) -> None:
        _check_parameter("df", self.df)
        _check_parameter("scale", self.scale)

    def distribution(self, outputs: Float[Array, "row output"], parameters: dict[str, Array]) -> Distribution:
        """Student-t around the outputs."""
        df, scale = (_parameter(self, name, parameters) for name in ("df", "scale"))
        return dist.StudentT(df, outputs, scale).to_event(1)

    def mean(self, outputs: Float[Array, "row output"], parameters: dict[str, Array]) -> Float[Array, "row value"]:
        """The outputs, about which the targets lie also where they have no mean (``df`` ≤ 1)."""
        return outputs


@register_dataclass
@dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Targets 0 or 1 with the output as logit.

    See Also
    --------
    temperax.likelihoods.Categorical

    Examples
    --------
    >>> labels = tx.Dataset.from_arrays(data.x, data.y[:, 0] > 0, task="classification")
    >>> tx.Energy.mlp(labels, (3,), likelihood=tx.likelihoods.Bernoulli()).num_rows
    40
    """

    task: ClassVar[str] = "classification"

    def fitted(self, y: np.ndarray, classes: Sequence[str]) -> Self:
        """Only two classes are its own."""
        if classes and len(classes) != 2:
            raise InputError("y", list(classes), "are not two classes", "use Categorical")
        return self

    def check_targets(self, argument: str, y: np.ndarray) -> None:
        """Targets must be 0 or 1."""
        if not np.isin(y, (0, 1)).all():
            problem, remedy = "has values other than 0 and 1", "use Categorical for several classes"
            raise InputError(argument, np.unique(y), problem, remedy)

    def distribution(self, outputs: Float[Array, "row output"], parameters: dict[str, Array]) -> Distribution:
        """Bernoulli with the outputs as logits."""
        return dist.Bernoulli(logits=outputs).to_event(1)


@register_dataclass
@dataclass(frozen=True)
class Categorical(Likelihood):
    """One of K classes, coded 0 … K-1 in a single target column, with the outputs as logits.

    ``num_classes`` is that of the data set's classes where it is None.

    See Also
    --------
    temperax.likelihoods.Bernoulli

    Examples
    --------
    >>> flowers = tx.datasets.load("iris")
    >>> three = tx.Energy.mlp(flowers, (3,), likelihood=tx.likelihoods.Categorical())
    >>> three.mean(three.sample_prior(key), jnp.asarray(flowers.x[:2])).shape  # probabilities of the three classes
    (2, 3)
    """

    num_classes: int | None = field(default=None, metadata={"static": True})
    task: ClassVar[str] = "classification"

    def __post_init__(self) -> None:
        if self.num_classes is not None:
            check_count("num_classes", self.num_classes, 2, MOST_CLASSES)

    def num_outputs(self, y: np.ndarray) -> int:
        """One logit a class."""
        return self.num_classes if self.num_classes is not None else int(y.max()) + 1

    def fitted(self, y: np.ndarray, classes: Sequence[str]) -> Self:
        """One logit for each class that the data set names, whether it occurs or not."""
        self.check_targets("y", y)
        count = max(len(classes), int(y.max()) + 1) if self.num_classes is None else self.num_classes
        if count < 2:
            raise InputError("y", list(classes), "has one class only", "give targets of at least two classes")
        return replace(self, num_classes=count)

    def check_targets(self, argument: str, y: np.ndarray) -> None:
        """Targets must be whole numbers 0 … K-1 in one column."""
        if y.shape[1] != 1:
            raise InputError(argument, y, "has several target columns", "give one column of class numbers")
        if (y < 0).any() or (y != np.round(y)).any():
            raise InputError(argument, np.unique(y), "is not made of class numbers", "code the classes as 0, 1, …")
        if y.max() >= MOST_CLASSES:
            raise InputError(argument, float(y.max()), "is no class number", f"code them as 0 … {MOST_CLASSES - 1}")
        if self.num_classes is not None and y.max() >= self.num_classes:
            problem = f"is below the class {int(y.max())} in {argument}"
            raise InputError("num_classes", self.num_classes, problem, "raise it")

    def distribution(self, outputs: Float[Array, "row output"], parameters: dict[str, Array]) -> Distribution:
        """Categorical with the outputs as logits, as an event of one column."""
        return dist.Categorical(logits=outputs[:, None, :]).to_event(1)

    def mean(self, outputs: Float[Array, "row output"], parameters: dict[str, Array]) -> Float[Array, "row value"]:
        """Probabilities of the classes."""
        return jax.nn.softmax(outputs, axis=-1)


@register_dataclass
@dataclass(frozen=True)
class Poisson(Likelihood):
    """Counts 0, 1, 2, … with the output as the logarithm of the rate.

    See Also
    --------
    temperax.Dataset.from_arrays

    Examples
    --------
    >>> counts = tx.Dataset.from_arrays(data.x, np.arange(40), task="counts")
    >>> tx.Energy.mlp(counts, (3,), likelihood=tx.likelihoods.Poisson()).size
    10
    """

    task: ClassVar[str] = "counts"

    def check_targets(self, argument: str, y: np.ndarray) -> None:
        """Targets must be counts, which JAX draws as integers of 32 bits."""
        if (y < 0).any() or (y != np.round(y)).any():
            raise InputError(argument, y, "has values that are not counts", "give whole numbers 0, 1, 2, …")
        if y.max() > MOST:
            raise InputError(argument, float(y.max()), "is too large a count", f"give counts up to {MOST}, or rescale")

    def distribution(self, outputs: Float[Array, "row output"], parameters: dict[str, Array]) -> Distribution:
        """Poisson with rate exp(output)."""
        return LogPoisson(outputs).to_event(1)


def default(task: str, y: np.ndarray, classes: Sequence[str]) -> Likelihood:
    """The usual likelihood of a task: Gaussian with learned noise, Bernoulli or categorical, Poisson."""
    if task == "classification":
        return Bernoulli() if len(classes) == 2 or (not classes and np.isin(y, (0, 1)).all()) else Categorical()
    return Gaussian() if task == "regression" else Poisson()
