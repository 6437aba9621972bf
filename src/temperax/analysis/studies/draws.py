"""What all studies share: thinned draws of every temperature, scores of predictions, and errors from chains."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from temperax.analysis.ensemble import log_mean_exp
from temperax.energies.energy import Energy
from temperax.energies.models import NetworkModel
from temperax.errors import InputError, check_count, check_result
from temperax.results import reading

#: Most rows at which a study evaluates entropies, gradients and curvatures.
MOST_ROWS = 500


class HeldOut(NamedTuple):
    """Held-out rows in standardised units, and what brings a target back to its own."""

    x: Float[np.ndarray, "row input"]
    y: Float[np.ndarray, "row target"]
    y_scale: Float[np.ndarray, " target"]
    task: str


def tempered(tree: Any, max_draws: int, group: str = "tempered_posterior") -> xr.Dataset:
    """A group (chain, draw, temperature, …) with at most ``max_draws`` evenly spaced draws a chain."""
    check_count("max_draws", max_draws, 2)
    if not isinstance(tree, xr.DataTree) or "tempered_posterior" not in tree.children:
        children = list(tree.children) if isinstance(tree, xr.DataTree) else type(tree).__name__
        problem = "has no draws of several temperatures"
        raise InputError("tree", children, problem, "sample several temperatures and give keep='all'")
    if group not in tree.children:
        raise InputError("tree", list(tree.children), "has no held-out rows", "hold rows out of the data set")
    return some(check_result(tree, group), "draw", max_draws).transpose("chain", "draw", "temperature", ...)


def some(dataset: xr.Dataset, dim: str, most: int) -> xr.Dataset:
    """At most so many evenly spaced items of a dimension."""
    return dataset.isel({dim: some_of(dataset.sizes[dim], most)})


def some_of(count: int, most: int) -> np.ndarray:
    """At most so many evenly spaced numbers out of 0 … count - 1."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def positions(
    tree: Any, energy: Any, max_draws: int, *, network: bool = True, other_rows: bool = False
) -> Float[np.ndarray, "chain draw temperature parameter"]:
    """Unconstrained positions of the thinned draws of every temperature, of an energy that must predict by default.

    With ``other_rows`` its data need not be those of the result.
    """
    draws = tempered(tree, max_draws)
    if not isinstance(energy, Energy):
        raise InputError("energy", energy, "is not an Energy", "give the energy that was sampled")
    if tree.attrs["num_parameters"] != energy.size:
        problem = f"has {energy.size} parameters, the result {tree.attrs['num_parameters']}"
        raise InputError("energy", energy.model, problem, "give the energy that was sampled")
    if network and not isinstance(energy.model, NetworkModel):
        raise InputError("energy", energy.model, "has no predictions", "build it by Energy.mlp or Energy.network")
    thinned = xr.DataTree.from_dict({"tempered_posterior": draws})
    thinned.attrs = tree.attrs
    return reading.positions(thinned, energy, "tempered_posterior", other_rows=other_rows)


def check_begins_at_prior(tree: xr.DataTree) -> None:
    """Say so where a ladder begins at a Gaussian that was fitted to the posterior's draws, and not at the prior."""
    if tree.attrs.get("path") == "reference":
        problem = "is a path from a Gaussian that knows the data, and not from the prior"
        raise InputError("tree", "reference", problem, "sample with path='likelihood'")


def held_out(tree: xr.DataTree) -> HeldOut:
    """The held-out rows that travel with a result."""
    tempered(tree, 2, "tempered_predictions")
    data = check_result(tree, "constant_data")
    return HeldOut(data["x_test"].values, data["y_test"].values, data["y_scale"].values, tree.attrs["task"])


def lppd(log_density: Float[np.ndarray, "chain draw temperature row"]) -> Float[np.ndarray, " temperature"]:
    """Mean over rows of `row_lppd`, in nats."""
    return row_lppd(log_density).mean(axis=-1)


def row_lppd(log_density: Float[np.ndarray, "chain draw temperature row"]) -> Float[np.ndarray, "temperature row"]:
    """Log (1/S Σ_s p(y | x, θ_s)) of every row, in nats."""
    return log_mean_exp(log_density)


def point_score(
    f: Float[np.ndarray, "temperature row value"], y: np.ndarray, y_scale: np.ndarray, task: str
) -> Float[np.ndarray, " temperature"]:
    """RMSE of the mean prediction in the target's own units, or accuracy of the most probable class."""
    if task == "classification":
        guess = f.argmax(axis=-1)[..., None] if f.shape[-1] > y.shape[1] else f > 0.5
        return (guess == y).mean(axis=(-2, -1))
    return np.sqrt((((f - y) * y_scale) ** 2).mean(axis=(-2, -1)))


def penalty(
    log_density: Float[np.ndarray, "chain draw temperature row"], beta: Float[np.ndarray, " temperature"]
) -> Float[np.ndarray, " temperature"]:
    """β V with V = Σ_rows Var_draws log p(y | x, θ): WAIC's effective number of parameters (Watanabe 2010)."""
    # At β = 0 the variance may be infinite; nothing holds the parameters.
    variance = log_density[:, :, beta > 0].astype(float).var(axis=(0, 1), ddof=1).sum(axis=-1)
    out = np.zeros(len(beta))
    out[beta > 0] = beta[beta > 0] * variance
    return out


def jackknife(statistic: Callable[[np.ndarray], np.ndarray], chains: int) -> tuple[np.ndarray, np.ndarray]:
    """A statistic of all chains, and its standard error by leaving out one chain at a time.

    Parameters
    ----------
    statistic
        Function of the numbers of the chains to use.
    chains
        How many there are; of one chain the error is NaN.
    """
    every = np.arange(chains)
    value = np.asarray(statistic(every), float)
    if chains < 2:
        return value, np.full_like(value, np.nan)
    left = np.stack([statistic(np.delete(every, c)) for c in every])
    return value, np.sqrt((chains - 1) / chains * ((left - left.mean(axis=0)) ** 2).sum(axis=0))


def mean(values: Float[np.ndarray, "chain draw *rest"]) -> tuple[np.ndarray, np.ndarray]:
    """Mean over chains and draws, and its error over chains."""
    return jackknife(lambda kept: values[kept].mean(axis=(0, 1), dtype=float), len(values))


def with_errors(dims: Sequence[str], coords: Mapping[Any, Any], **pairs: tuple[np.ndarray, np.ndarray]) -> xr.Dataset:
    """A dataset of values and their ``_error``, from pairs of arrays."""
    variables: dict[str, Any] = {}
    for name, (value, error) in pairs.items():
        variables |= {name: (list(dims), value), f"{name}_error": (list(dims), error)}
    return xr.Dataset(variables, coords=dict(coords))


def temperatures(tree: xr.DataTree) -> dict[Any, Any]:
    """The coordinates ``temperature`` and ``beta`` of the draws that were kept."""
    kept = check_result(tree, "tempered_posterior")["temperature"].values
    return {"temperature": kept, "beta": ("temperature", 1.0 / kept)}


def betas(tree: xr.DataTree) -> Float[np.ndarray, " temperature"]:
    """Inverse temperatures of the draws that were kept."""
    return 1.0 / check_result(tree, "tempered_posterior")["temperature"].values
