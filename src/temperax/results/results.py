"""Results as ArviZ DataTrees: the one room that writes them.

Groups: in ArviZ's own names those of the target temperature, ``posterior`` (whose attribute it is), ``sample_stats``,
``log_likelihood`` and ``posterior_predictive`` of the training rows, ``predictions`` of the held-out ones; those of
every kept temperature (hottest first, with a ``beta`` coordinate) as ``tempered_posterior``, ``tempered_stats``,
``tempered_log_likelihood`` and ``tempered_predictions``; ``exchange`` for parallel tempering; the data; and, in the
attributes, how to repeat it.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from arviz_base import dict_to_dataset
from jaxtyping import Array

from temperax.energies.dataset import Dataset
from temperax.energies.energy import Energy
from temperax.energies.models import NetworkModel
from temperax.engine.program import Record
from temperax.engine.tempering import target_slot, temper_on_host
from temperax.errors import check_result
from temperax.results import notation, reading
from temperax.results.carried import PREDICT, energy_of, key_of, noise_key
from temperax.results.fingerprints import fingerprint
from temperax.storage.drawstore import EVERY

DRAWS = ("chain", "draw")


#: A draw's log likelihoods of more rows × temperatures than this are kept of every second draw, third, …, unless it is
#: said otherwise: at most .3 GB of four chains of a thousand draws.
MOST_ROWS = 20_000

#: How weights may be stored.
STORAGE: Mapping[str, type] = {"float32": np.float32, "float16": np.float16}


def groups(
    energy: Energy,
    record: Record,
    first: int = 0,
    *,
    betas: np.ndarray,
    kept: np.ndarray,
    target: int,
    step_size: np.ndarray,
    predict_key: Array,
    first_replica: np.ndarray | None = None,
    log_likelihood: bool | None = None,
    storage: str = "float32",
) -> dict[str, xr.Dataset]:
    """The groups of a run, or of a part of it that follows others.

    Parameters
    ----------
    energy
        What was sampled.
    record
        Draws on the host, leading axis draw.
    first
        The number of the first of them.
    betas, kept, target
        The ladder, the slots whose positions were kept, and the slot of the ``posterior``.
    step_size
        Per temperature.
    predict_key
        Randomness of the posterior predictive draws.
    first_replica
        Which replica (chain, temperature) each slot held before the first draw; None where replicas are not swapped.
    log_likelihood
        Whether to add log likelihoods and predictions of the training rows; None adds them of as many draws as
        `MOST_ROWS` allows.
    storage
        A name of `STORAGE`.
    """
    draws: Record = jax.tree.map(lambda field: np.swapaxes(field, 0, 1), record)  # chain first
    temperature = temperature_coords(betas)
    tempered = _tempered_stats(draws, betas, step_size, energy.discrete)
    slot = list(kept).index(target)
    found = position_groups(
        energy, np.asarray(draws.position), betas[kept], slot, predict_key, first, log_likelihood, storage
    )
    found["sample_stats"] = _sample_stats(tempered, target)
    found["tempered_stats"] = _dataset(tempered, dict.fromkeys(tempered, ["temperature"]), temperature)
    if first_replica is not None:
        found["exchange"] = _exchange(draws, betas, first_replica)
    number = first + np.arange(draws.fault.shape[1])
    return {
        name: data.assign_coords(draw=number[number % data.attrs.get(EVERY, 1) == 0]) if "draw" in data.dims else data
        for name, data in found.items()
    }


def position_groups(
    energy: Energy,
    positions: np.ndarray,
    betas: np.ndarray,
    target: int,
    key: Array,
    first: int = 0,
    log_likelihood: bool | None = None,
    storage: str = "float32",
) -> dict[str, xr.Dataset]:
    """The groups that positions (chain, draw, temperature, parameter) alone determine; ``first`` numbers the draws."""
    data = energy.dataset
    every = _every(energy, len(betas), log_likelihood)
    known = {
        "key": noise_key(key),
        "held_out": (data.x_test, data.y_test) if data is not None and len(data.x_test) else None,
        "training": _rows(energy) if every == 1 else None,
    }
    draws = first + np.arange(positions.shape[1])
    number = _numbers(draws, positions)
    values = reading.over_draws(_of_draw, energy, known, positions, number)
    variables = {name: column.astype(STORAGE[storage], copy=False) for name, column in values["variables"].items()}
    found = {"posterior": _variables(energy, {name: column[:, :, target] for name, column in variables.items()})}
    # What says of which temperature the posterior is, wherever the dataset goes.
    found["posterior"].attrs |= {"temperature": float(temperature_coords(betas)["temperature"][target])}
    if len(betas) > 1:
        found["tempered_posterior"] = _variables(energy, variables, temperature_coords(betas))
    if data is not None:
        found |= data_groups(data)
        if "held_out" in values:
            found |= _held_out_groups(data, values["held_out"], betas, target)
    if every == 1:
        found |= _training_groups(energy, values["training"], betas, target)
    elif every:
        some = draws % every == 0
        known |= {"held_out": None, "training": _rows(energy)}
        values = reading.over_draws(_of_draw, energy, known, positions[:, some], number[:, some])
        groups = _training_groups(energy, values["training"], betas, target)
        found |= {name: group.assign_attrs({EVERY: every}) for name, group in groups.items()}
    if energy.observations:
        values, own = energy.observations
        found["observed_data"] = _dataset(values, own, {}, sample_dims=())
    return found


def _numbers(draws: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """A number for every position (chain, draw, temperature), that of other temperatures alike."""
    chains = len(positions)
    number = draws * chains + np.arange(chains)[:, None]
    return np.broadcast_to(number[..., None] % 2**32, positions.shape[:3]).astype(np.uint32)


def _rows(energy: Energy) -> Any:
    """What log likelihoods are of: data, or nothing where a function has its rows in itself."""
    return () if energy.data is None else energy.data


def _every(energy: Energy, num_temperatures: int, log_likelihood: bool | None) -> int:
    """Of which draws log likelihoods are kept: 1 of all, 2 of every second, …, 0 of none."""
    if log_likelihood is not None:
        return int(log_likelihood)
    return 0 if energy.num_rows is None else max(1, -(-energy.num_rows * num_temperatures // MOST_ROWS))


def assemble(found: Mapping[str, xr.Dataset], values: Mapping[str, Any]) -> xr.DataTree:
    """Groups and attributes as a tree."""
    tree = xr.DataTree.from_dict(found)
    tree.attrs = attributes(values)
    return tree


def attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes; those that files cannot hold become JSON."""
    return {k: v if isinstance(v, (int, float, str)) else json.dumps(v) for k, v in values.items()}


def temperature_coords(betas: np.ndarray) -> dict[str, Any]:
    """Coordinates of the ``temperature`` dimension."""
    with np.errstate(divide="ignore"):
        temperature = 1.0 / np.asarray(betas, dtype=float)
    return {"temperature": temperature, "beta": ("temperature", np.asarray(betas, dtype=float))}


def _dataset(
    data: Mapping[str, Any],
    dims: Mapping[str, list[str]],
    coords: Mapping[str, Any],
    sample_dims: Sequence[str] = DRAWS,
) -> xr.Dataset:
    """An ArviZ dataset; coordinates that are no dimension (``beta``) are attached after."""
    index = {k: v for k, v in coords.items() if not isinstance(v, tuple)}
    dataset = dict_to_dataset(
        dict(data),
        dims={k: list(v) for k, v in dims.items()},
        coords=index,
        sample_dims=list(sample_dims),
        check_conventions=False,
    )
    return dataset.assign_coords({k: v for k, v in coords.items() if isinstance(v, tuple)})


def _of_draw(energy: Energy, known: Any, position: Array, number: Array) -> dict[str, Any]:
    """All that a result says of a draw, by one compiled program: its variables, and predictions of rows.

    Targets are drawn by a key of the draw's own number, so that in whatever parts draws come they have the same ones.
    """
    found: dict[str, Any] = {"variables": energy.variables(position)}
    key = jax.random.fold_in(known["key"], number)
    likelihood = energy.model.likelihood if isinstance(energy.model, NetworkModel) else None
    if known["held_out"] is not None and likelihood is not None:
        x, y = known["held_out"]
        held_out = {"f": energy.mean(position, x), "log_density": energy.log_prob(position, x, y)}
        if likelihood.task == "regression":
            held_out["variance"] = energy.distribution(position, x).variance
        found["held_out"] = held_out | {"y": energy.distribution(position, x).sample(key)}
    if known["training"] is not None:
        found["training"] = {"log_likelihood": energy.log_likelihoods(position)}
        if likelihood is not None:
            distribution = energy.distribution(position, energy.data["x"])
            found["training"]["y"] = distribution.sample(jax.random.fold_in(key, 1))
    return found


def _variables(
    energy: Energy, variables: Mapping[str, np.ndarray], temperature: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """Named parameters (chain, draw[, temperature], …) with the names of their dimensions."""
    lead = [] if temperature is None else ["temperature"]
    dims = {name: lead + own for name, own in energy.dims.items()}
    coords: dict[str, Any] = {} if temperature is None else {"temperature": temperature["temperature"]}
    if energy.dataset is not None:
        names = {"input": energy.dataset.inputs, "target": energy.dataset.targets}
        used = {d for name in dims for d in dims[name]}
        coords |= {d: list(v) for d, v in names.items() if d in used}
    return _dataset(variables, dims, coords)


def _tempered_stats(draws: Record, betas: np.ndarray, step_size: np.ndarray, discrete: bool) -> dict[str, Any]:
    """Statistics (chain, draw, temperature) in ArviZ's names where it has them."""
    beta = np.asarray(betas, dtype=draws.base_energy.dtype)
    return {
        "lp": -temper_on_host(draws.base_energy, draws.path_energy, betas),
        "energy": draws.energy,
        "prior_energy": draws.prior_energy,
        "data_energy": draws.data_energy,
        "path_energy": draws.path_energy,
        # Integration by parts, which makes its mean 1, is for positions that do not jump.
        "virial": np.full_like(draws.virial, np.nan) if discrete else draws.virial,
        "acceptance_rate": draws.acceptance_rate,
        "n_steps": draws.n_steps,
        "diverging": draws.diverging,
        "fault": draws.fault,
        "step_size": np.broadcast_to(step_size.astype(beta.dtype), draws.energy.shape),
    }


def _sample_stats(tempered: Mapping[str, np.ndarray], target: int) -> xr.Dataset:
    return _dataset({name: values[:, :, target] for name, values in tempered.items()}, {}, {})


def _exchange(draws: Record, betas: np.ndarray, first_replica: np.ndarray) -> xr.Dataset:
    """The exchange's statistics; ``pair`` n is between slots n and n + 1.

    A replica is named by the slot that it held before the first draw.
    """
    names = np.argsort(first_replica, axis=1).astype(draws.replica.dtype)
    data = {
        "swap_acceptance": draws.swap_acceptance,
        "replica": np.stack([name[replica] for name, replica in zip(names, draws.replica, strict=True)]),
        "round_trips": draws.round_trips,
        "restarts": draws.restarts,
    }
    dims = {"swap_acceptance": ["pair"], "replica": ["temperature"]}
    return _dataset(data, dims, temperature_coords(betas) | {"pair_beta": ("pair", (betas[1:] + betas[:-1]) / 2)})


def data_groups(data: Dataset) -> dict[str, xr.Dataset]:
    """``observed_data`` and ``constant_data``: all of the data set, in standardised units, with what undoes it."""
    inputs, targets = list(data.inputs), list(data.targets)
    constant = {
        "x": (("row", "input"), data.x),
        "x_test": (("test_row", "input"), data.x_test),
        "y_test": (("test_row", "target"), data.y_test),
        "x_mean": (("input",), data.x_mean),
        "x_scale": (("input",), data.x_scale),
        "y_mean": (("target",), data.y_mean),
        "y_scale": (("target",), data.y_scale),
    }
    return {
        "observed_data": xr.Dataset({"y": _by_row(data, data.y)}, coords={"target": targets}),
        "constant_data": xr.Dataset(constant, coords={"input": inputs, "target": targets}),
    }


def _held_out_groups(
    data: Dataset, found: Mapping[str, np.ndarray], betas: np.ndarray, target: int
) -> dict[str, xr.Dataset]:
    """Predictions of the held-out rows at every kept temperature, and those of the posterior's apart."""
    value = "target" if found["f"].shape[-1] == data.y.shape[1] else "class"
    coords: dict[str, Any] = {"target": list(data.targets)} if value == "target" else {}
    if value == "class" and len(data.classes) == found["f"].shape[-1]:
        coords = {"class": list(data.classes)}
    own = {"log_density": [], "f": [value], "variance": ["target"], "y": ["target"]}
    dims = {name: ["temperature", "test_row", *own[name]] for name in found}
    coords |= {"target": list(data.targets)}
    posterior = {name: found[name][:, :, target] for name in ("f", "y")}
    posterior_dims = {"f": ["test_row", value], "y": ["test_row", "target"]}
    return {
        "predictions": _dataset(posterior, posterior_dims, coords),
        "tempered_predictions": _dataset(found, dims, coords | temperature_coords(betas)),
    }


def _training_groups(energy: Energy, found: Mapping[str, Any], betas: np.ndarray, target: int) -> dict[str, xr.Dataset]:
    """Log likelihoods of the training rows at every kept temperature, and targets drawn for them at the posterior's."""
    logs, data = found["log_likelihood"], energy.dataset
    targets = {"target": list(data.targets)} if data is not None else {}
    dims = energy.likelihood_dims
    own = targets if any("target" in d for d in dims.values()) else {}
    groups = {"log_likelihood": _dataset({name: values[:, :, target] for name, values in logs.items()}, dims, own)}
    if len(betas) > 1:
        dims = {name: ["temperature", *own] for name, own in dims.items()}
        groups["tempered_log_likelihood"] = _dataset(logs, dims, temperature_coords(betas) | own)
    if data is not None and "y" in found:
        axes, drawn = _by_row(data, found["y"][:, :, target])
        groups["posterior_predictive"] = _dataset({"y": drawn}, {"y": list(axes)}, targets)
    return groups


def _by_row(data: Dataset, y: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Dimensions and values of targets (…, row, target): one target's are (row,), as ArviZ's checks want them."""
    return (("row",), y[..., 0]) if len(data.targets) == 1 else (("row", "target"), y)


def add_log_likelihood(tree: xr.DataTree, energy: Energy | None = None) -> None:
    """Give a result the ``log_likelihood`` group (chain, draw, row), in nats, that ``az.loo`` reads, of every draw.

    Results have it, unless it was turned off; of more than 20 000 rows × temperatures of every second draw, third, ….
    With draws of several temperatures ``tempered_log_likelihood`` comes too, and with a network's
    ``posterior_predictive``.

    Parameters
    ----------
    tree
        A result; changed in place.
    energy
        The energy that was sampled; by default the one that the result carries (`energy_of`).

    Raises
    ------
    InputError
        If the energy is a user's function that returns a scalar, or not the one that was sampled.

    See Also
    --------
    temperax.diagnostics.loo

    Examples
    --------
    >>> short = tx.sample(key, energy, num_warmup=50, num_draws=20, log_likelihood=False, progress=False)
    >>> tx.add_log_likelihood(short, energy)
    >>> short["log_likelihood"]["y"].sizes["row"]
    40
    """
    energy = energy_of(tree) if energy is None else energy
    several = "tempered_posterior" in tree.children
    group = "tempered_posterior" if several else "posterior"
    draws = check_result(tree, group)
    betas = 1.0 / draws["temperature"].values if several else np.ones(1)
    positions = reading.positions(tree, energy, group)
    positions = positions if several else positions[:, :, None]
    key, number = noise_key(jax.random.fold_in(key_of(tree), PREDICT)), _numbers(draws["draw"].values, positions)
    known = {"key": key, "held_out": None, "training": _rows(energy)}
    found = reading.over_draws(_of_draw, energy, known, positions, number)["training"]
    for name, made in _training_groups(energy, found, betas, target_slot(betas) if several else 0).items():
        tree[name] = xr.DataTree(made.assign_coords(draw=draws["draw"]))


def renewed(tree: xr.DataTree) -> xr.DataTree:
    """A result that was written when predictions of the held-out rows had other names, under those of now."""
    if "tempered_predictive" not in tree.children:
        return tree
    names = {"tempered_predictive": "tempered_predictions", "posterior_predictive": "predictions"}
    found = xr.DataTree.from_dict({names.get(name, name): child.to_dataset() for name, child in tree.children.items()})
    found.attrs = tree.attrs
    return found


def describe(
    energy: Energy,
    key: Array,
    function: str,
    arguments: Mapping[str, Any],
    started: Mapping[str, Any],
) -> dict[str, Any]:
    """Attributes that say what was run and how: version, energy, arguments, seed, device."""
    data, device = energy.dataset, jax.local_devices()[0]
    return {
        "inference_library": "temperax",
        "inference_library_version": version("temperax"),
        "jax_version": jax.__version__,
        "numpyro_version": version("numpyro"),
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "key_implementation": str(jax.random.key_impl(key)),
        "precision": str(jnp.result_type(float)),
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "function": function,
        "arguments": notation.encode(arguments),
        "energy": notation.encode(energy.arguments),
        "fingerprint": fingerprint(energy),
        "data": data.name if data is not None else "",
        "task": data.task if data is not None else "",
        "classes": list(data.classes) if data is not None else [],
        "encoding": data.encoding.to_json() if data is not None and data.encoding is not None else None,
        "num_parameters": energy.size,
        "layout": energy.layout,
        "started": started,
    }
