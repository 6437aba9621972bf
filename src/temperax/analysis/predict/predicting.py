"""Predictions of draws at new inputs, block by block of rows."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from temperax.energies.dataset import Dataset
from temperax.energies.energy import Energy
from temperax.errors import InputError, check_key, check_result
from temperax.machine.progress import tqdm
from temperax.results.carried import energy_of, key_of, noise_key
from temperax.results.fingerprints import check_energy
from temperax.results.reading import in_order, over_draws, positions

#: Rows that are predicted together.  It is one number, so that nothing is compiled for another count of rows and a
#: row's numbers do not depend on how many come with it.
ROWS = 128


class Block(NamedTuple):
    """Predictions of some rows, in original units.

    Attributes
    ----------
    f
        Expected targets (chain, draw, temperature, row, target), or class probabilities (…, class).
    variance
        Of the noise (…, target); None of a classification.
    y
        Targets drawn with noise, several of every draw: (repeat, chain, draw, temperature, row, target), classes by
        number.
    """

    f: np.ndarray
    variance: np.ndarray | None
    y: np.ndarray


class Predictor:
    """What predicts: a result's draws at its kept temperatures, and the energy that they are of.

    Parameters
    ----------
    tree, energy
        A result, and the energy that was sampled, or None for the one that the result carries.
    group
        ``posterior`` or ``tempered_posterior``.
    key
        Of the noise, or None for a key of the run's own.
    trust
        Packages from which the result may import.

    Raises
    ------
    InputError
        If the energy has no predictions, or is not the result's.
    """

    def __init__(
        self, tree: xr.DataTree, energy: Energy | None, group: str, key: Any, trust: Sequence[str] = ()
    ) -> None:
        if energy is not None and not isinstance(energy, Energy):
            raise InputError("energy", energy, "is not an Energy", "leave it out, or give the one that was sampled")
        draws = check_result(tree, group, problem=f"has no group {group}")
        self.energy = energy_of(tree, trust) if energy is None else energy
        data = self.energy.dataset
        if data is None:
            raise InputError("energy", energy, "has no predictions", "build it by Energy.mlp or Energy.network")
        self.data: Dataset = data
        found = positions(tree, self.energy, group)
        self.several = "temperature" in draws.dims
        self.positions = found if self.several else found[:, :, None]
        self.coords = {d: draws[d].values for d in ("chain", "draw")}
        self.temperatures = draws["temperature"].values if self.several else np.array([np.nan])
        if key is None:  # a tree that was put together by hand carries none
            key = jax.random.fold_in(key_of(tree) if "key" in tree.attrs else jax.random.key(0), 7)
        self.key = noise_key(check_key(key))

    @property
    def num_draws(self) -> int:
        """Draws of all chains together."""
        return self.positions.shape[0] * self.positions.shape[1]

    def blocks(self, x: Any, repeats: int = 1, *, progress: bool = False) -> Iterator[Block]:
        """Predictions of all rows of ``x``, with ``repeats`` noisy targets of every draw."""
        scaled = self.data.scaled("x", x)
        lead = self.positions.shape[:3]
        number = np.broadcast_to(np.arange(self.num_draws).reshape(*lead[:2], 1), lead).astype(np.uint32)
        scale, mean = self.data.y_scale, self.data.y_mean  # 1 and 0 of classes and counts
        with tqdm(total=len(scaled), desc="predict", unit="row", disable=not progress) as bar:
            for first in range(0, len(scaled), ROWS):
                rows = scaled[first : first + ROWS]
                padded = np.concatenate([rows, np.repeat(rows[-1:], ROWS - len(rows), axis=0)])
                key = jax.random.fold_in(self.key, first // ROWS)
                known = {"x": jnp.asarray(padded), "key": key, "repeats": jnp.zeros((repeats, 0))}
                found = over_draws(_of_draw, self.energy, known, self.positions, number)
                cut = {name: values[..., : len(rows), :] for name, values in found.items()}
                y = np.moveaxis(cut["y"], 3, 0)
                if self.data.task == "classification":
                    yield Block(cut["f"], None, y)
                else:
                    yield Block(cut["f"] * scale + mean, cut["variance"] * scale**2, y * scale + mean)
                bar.update(len(rows))


def _of_draw(energy: Energy, known: Any, position: Array, number: Array) -> dict[str, Array]:
    """F, the noise's variance, and targets with noise (repeat, row, target) of one draw."""
    distribution = energy.distribution(position, known["x"])
    key = jax.random.fold_in(known["key"], number)
    return {
        "f": energy.mean(position, known["x"]),
        "variance": distribution.variance,
        "y": distribution.sample(key, (known["repeats"].shape[0],)),
    }


def predictions(
    tree: xr.DataTree,
    x: Any,
    energy: Energy | None = None,
    *,
    group: str = "posterior",
    key: Any = None,
    trust: Sequence[str] = (),
    progress: bool = False,
) -> xr.Dataset:
    """Draws of f(x) and of y at new inputs, in original units.

    Parameters
    ----------
    tree
        A result.
    x
        Inputs (row, input) as the data set was given them: a frame of the same columns, text, dates and gaps too, or an
        array.
    energy
        The energy that was sampled; by default the one that the result carries.
    group
        Which draws: ``posterior``, or ``tempered_posterior`` of every temperature that was kept.
    key
        Randomness of the noise; by default one of the run's own.
    trust
        Packages from which the result may import functions and modules of a user's own, ``["my_package"]``: to import
        is to execute, and a file may come from anybody.
    progress
        Whether to show a bar.

    Returns
    -------
    xarray.Dataset
        ``f`` (chain, draw[, temperature], row, target): expected targets, or of a classification class probabilities
        (…, class); of two classes the second's, under its name; ``y`` (…, row, target): targets with their noise
        (classes by number); ``variance`` of the noise.  ``row`` is the index of a frame
        (of several levels, the number).

    Raises
    ------
    InputError
        If the result carries no energy that predicts, lacks its parameters or is of another one, the columns are not
        the inputs, or values are missing: with their rows.

    See Also
    --------
    summary : mean, standard deviations, intervals.

    Examples
    --------
    >>> draws = tx.predict.predictions(tree, [[0.5], [1.0]])
    >>> draws["f"].dims
    ('chain', 'draw', 'row', 'target')
    """
    if isinstance(x, Energy):
        raise InputError("x", x, "is an energy", "write predictions(tree, x), or predictions(tree, x, energy)")
    source = Predictor(tree, energy, group, key, trust)
    blocks = list(source.blocks(x, progress=progress))
    if not blocks:
        raise InputError("x", np.shape(x), "has no rows", "give one at least")
    data = source.data
    f = np.concatenate([block.f for block in blocks], axis=3)
    columns = {"f": f, "y": np.concatenate([block.y[0] for block in blocks], axis=3)}
    variances = [block.variance for block in blocks if block.variance is not None]
    if variances:
        columns["variance"] = np.concatenate(variances, axis=3)
    value, names = value_names(data, f.shape[-1])
    coords: dict[str, Any] = {**source.coords, "target": list(data.targets), value: names}
    index = rows_of(x, f.shape[3])
    coords["row"] = ("row", np.arange(len(index)) if getattr(index, "nlevels", 1) > 1 else np.asarray(index))
    lead = ["chain", "draw", "temperature", "row"]
    dims = {"f": [*lead, value], "y": [*lead, "target"], "variance": [*lead, "target"]}
    found = xr.Dataset({name: (dims[name], values) for name, values in columns.items()}, coords=coords)
    found = found.assign_coords(temperature=source.temperatures)
    return found if source.several else found.isel(temperature=0, drop=True)


def value_names(data: Dataset, count: int) -> tuple[str, list[str]]:
    """The dimension of f, and the names along it."""
    if count == len(data.targets):
        one_class = data.task == "classification" and count == 1 and len(data.classes) == 2
        return ("class", [data.classes[1]]) if one_class else ("target", list(data.targets))
    return "class", list(data.classes) if len(data.classes) == count else [str(i) for i in range(count)]


def rows_of(x: Any, count: int) -> Any:
    """Names of the rows: the index of a frame, or their numbers."""
    return x.index if hasattr(x, "columns") and hasattr(x, "index") else np.arange(count)


def predictive(key: Any, tree: xr.DataTree | xr.Dataset, energy: Energy, /, *args: Any, **kwargs: Any) -> xr.Dataset:
    """What a NumPyro model makes of a result's draws with new arguments, by NumPyro's own ``Predictive``.

    Parameters
    ----------
    key
        Randomness of what is drawn.
    tree
        A result, of which the ``posterior`` group is used, or draws: ``tree["tempered_posterior"].dataset``, say.
    energy
        The energy that was sampled, from `temperax.Energy.from_numpyro`.
    *args, **kwargs
        New arguments of the model; what it shall predict is left out, as in a call without observations.  Latent sites
        to which they give another shape (effects of new groups) are drawn again, given the others.

    Returns
    -------
    xarray.Dataset
        Sites that are drawn and deterministic ones: (chain, draw[, temperature], …).

    Raises
    ------
    InputError
        If the energy is not a NumPyro model's, the draws are not its own, or the model fails on these arguments.

    See Also
    --------
    temperax.Energy.from_numpyro, temperax.predict.predictions

    Examples
    --------
    >>> import numpyro, numpyro.distributions as dist
    >>> def line(x, y=None):
    ...     slope = numpyro.sample("slope", dist.Normal(0, 1))
    ...     numpyro.sample("y", dist.Normal(slope * x, 0.1), obs=y)
    >>> given = tx.Energy.from_numpyro(line, jnp.arange(5.0), y=2 * jnp.arange(5.0))
    >>> found = tx.sample(key, given, num_warmup=50, num_draws=20, progress=False)
    >>> tx.predict.predictive(key, found, given, jnp.array([10.0]))["y"].shape
    (4, 20, 1)
    """
    key = check_key(key)
    model: Any = getattr(energy, "model", None)
    if not hasattr(model, "predicted"):
        raise InputError("energy", energy, "is not of a NumPyro model", "use predictions for networks")
    draws = tree
    if isinstance(tree, xr.DataTree):
        draws = check_result(tree, "posterior", *energy.names)
        check_energy(tree, energy)
    missing = sorted(set(energy.names) - set(map(str, draws)))
    if missing:
        raise InputError("tree", missing, "are not among the draws", "give a result of this energy")
    lead = [d for d in ("chain", "draw", "temperature") if d in draws.dims]
    own = energy.dims
    drawn, sizes = {}, [draws.sizes[d] for d in lead]
    for name, site in zip(energy.names, model.shapes(), strict=True):
        ordered = in_order(draws[name], lead, own[name])
        drawn[site] = ordered.reshape(-1, *ordered.shape[len(lead) :])
    values, dims = model.predicted(key, drawn, energy.data, args, kwargs)
    found = {name: ([*lead, *dims[name]], value.reshape(*sizes, *value.shape[1:])) for name, value in values.items()}
    return xr.Dataset(found, coords={d: draws[d] for d in lead if d in draws.coords})
