"""Fingerprints of energies: by which another energy of the same shape is told from the one that was sampled."""

import hashlib
import json
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from temperax.energies.energy import Energy
from temperax.energies.path_priors import fixed_arrays
from temperax.errors import InputError, check_array
from temperax.results import notation
from temperax.results.carried import recipe


def digest(*parts: Any) -> str:
    """A hash of texts and arrays."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            found.update(part.encode())
        else:
            array = np.asarray(part)
            found.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def program_of(energy: Energy) -> str:
    """A hash of what computes an energy: its program in JAX's own notation, without the numbers that it is given."""
    position = jax.ShapeDtypeStruct((energy.size,), jnp.result_type(float))
    computed = jax.make_jaxpr(lambda energy, q: (energy.prior_energy(q), energy.data_energy(q)))
    traced = computed(energy.bare(), position)
    return digest(without_addresses(str(traced.jaxpr)), *traced.consts)


def without_addresses(text: str) -> str:
    """The text of a program without where its functions lie in memory, which says nothing of them."""
    return re.sub(r"0x[0-9a-f]+", "", text)


def _sketch(array: Any) -> list[float]:
    """An array's length and one of its projections: the same of two roundings of it, and not of another array."""
    flat = np.asarray(array, complex).ravel().view(float)
    return [float(np.linalg.norm(flat)), float(flat @ np.cos(np.arange(flat.size)))]


def fingerprint(energy: Energy) -> dict[str, Any]:
    """Hashes of an energy's data (with their units), of its other numbers, and of its program; and its fixed arrays.

    Numbers are hashed in single precision, so that those of a run in double precision are known again; a program looks
    the same on one version of JAX, one precision and one kind of device alone, which are noted with it.  Arrays that a
    network keeps fixed are part of the program, and sketched beside it: where an initialiser makes them again, another
    device rounds them otherwise.
    """

    def in_single(tree: Any) -> str:
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
        return digest(*(a.astype(np.float32) if a.dtype.kind == "f" else a for a in leaves))

    bare, data = energy.bare(), energy.dataset
    units: list[Any] = [] if data is None else [data.x_mean, data.x_scale, data.y_mean, data.y_scale]
    if data is not None and data.encoding is not None:
        units.append(json.dumps(data.encoding.to_json()))
    return {
        "data": digest(in_single(bare.data), *units),
        "numbers": in_single(bare.with_data(None)),
        "program": program_of(energy),
        "fixed": [_sketch(array) for array in fixed_arrays(getattr(energy.model, "network", None))],
        "seen_by": f"JAX {jax.__version__}, {jnp.result_type(float)}, {jax.default_backend()}",
    }


def check_energy(tree: xr.DataTree, energy: Energy, *, other_rows: bool = False) -> None:
    """Say so where an energy is not the one that a result is of.

    Parameters
    ----------
    tree
        A result; one without a fingerprint is taken on trust.
    energy
        What it is said to be of.
    other_rows
        Whether the energy may have other data.
    """
    if "fingerprint" not in tree.attrs:
        return
    theirs, ours = recipe(tree, "fingerprint"), fingerprint(energy)
    if not isinstance(theirs, dict):
        raise InputError("tree", "fingerprint", "is damaged", "give a result as it was returned")
    differs = {name for name in theirs if theirs[name] != ours.get(name)}
    if "fixed" in differs and _same_arrays(theirs["fixed"], ours["fixed"]):
        differs.remove("fixed")
    made = recipe(tree, "energy") if "energy" in tree.attrs else None
    own = notation.encode(energy.arguments)
    what = []
    if differs & {"numbers", "program", "fixed"} and isinstance(made, dict) and own:
        what = [name for name in own if own[name] != made.get(name)]
    if not what and "fixed" in differs:
        what = ["arrays that its network keeps fixed"]
    if not what and ("numbers" in differs or ("program" in differs and "seen_by" not in differs)):
        what = ["its model"]
    if "data" in differs and not other_rows:
        what.append("its data or their scaling")
    if what:
        problem = f"is not what was sampled: it differs in {', '.join(what)}"
        raise InputError("energy", energy, problem, "give the energy of this result, or sample this energy")


def _same_arrays(theirs: Any, ours: list[list[float]]) -> bool:
    """Whether sketches are of the same arrays, but for rounding."""
    found, own = check_array("tree", theirs, "give a result as it was returned"), np.reshape(ours, (-1, 2))
    return found.shape == own.shape and np.allclose(found, own, rtol=0.0, atol=1e-5 * own[:, :1], equal_nan=True)
