"""Energies as sums over parameters and rows: in chunks, counted from a point, shared by devices."""

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from temperax.energies.models import Model, NetworkModel, sum_in_double
from temperax.energies.names import dimensions, variable_name
from temperax.energies.positions import Parametrised, Position
from temperax.errors import InputError, told
from temperax.machine import sharding

#: Rows whose energies are held at once: their activations fit a processor's cache, and any number of rows the memory.
CHUNK_ROWS = 8192


class Reference(NamedTuple):
    """Energies of one position, term by term: what the energies of others are differences from."""

    prior: Any  # one value a parameter, in the structure of the prior
    rows: Float[Array, "*row"]
    sums: Float[np.ndarray, "2"]  # prior and data energy in double precision, as the host has them


class Summed(Parametrised):
    """The prior energy and the data energy of a model, each a sum of terms of which differences keep their digits."""

    model: Model
    data: Any
    #: Where energies are counted from; see `relative_to`.
    reference: Reference | None = None
    #: Of rows that `over_rows` has spread over devices: 1, or 0 for one that only fills a device's share.
    weights: Float[Array, " row"] | None = None

    @property
    def num_rows(self) -> int | None:
        """n: how many rows the data energy is a sum of; None where it is a bare scalar."""
        shape = self._row_energies().shape
        return shape[0] if shape else None

    def prior_energy(self, position: Position) -> Float[Array, ""]:
        """U0 = -log p(θ) of the unconstrained position (log-Jacobian included), in nats."""
        terms = self.prior_terms(position)
        if self.reference is not None:
            terms = jax.tree.map(jnp.subtract, terms, self.reference.prior)
        return jnp.sum(jnp.stack([jnp.sum(leaf) for leaf in jax.tree.leaves(terms)]))

    def data_energy(self, position: Position) -> Float[Array, ""]:
        """E = -log p(D|θ), in nats."""
        if self.weights is None:
            return self._sum_of_rows(position)
        return sharding.total(self._sum_of_rows(sharding.shared(position)))

    def _sum_of_rows(self, position: Position) -> Float[Array, ""]:
        """E of the rows that are at hand."""
        parameters = self.unravel(position)

        def total(data: Any, reference: Array | None, weights: Array | None) -> Array:
            rows = self.model.row_energies(parameters, data)
            rows = rows if reference is None else rows - reference
            return jnp.sum(rows if weights is None else rows * weights)

        rows = (self.data, None if self.reference is None else self.reference.rows, self.weights)
        num_rows = len(self.data["x"]) if isinstance(self.model, NetworkModel) else 0
        if num_rows <= CHUNK_ROWS:
            return total(*rows)
        whole = num_rows // CHUNK_ROWS * CHUNK_ROWS
        chunks = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, CHUNK_ROWS, *leaf.shape[1:]), rows)
        # Recomputed in the backward pass, so that no chunk's activations outlive it.
        add = jax.checkpoint(lambda energy, chunk: energy + total(*chunk))
        start = total(*jax.tree.map(lambda leaf: leaf[whole:], rows)) if whole < num_rows else jnp.zeros(())
        return jax.lax.scan(lambda energy, chunk: (add(energy, chunk), None), start, chunks)[0]

    def relative_to(self, position: Float[Array | np.ndarray, " parameter"] | None) -> Self:
        """The same energies counted from those of ``position`` (None: from 0), as sums of differences term by term.

        The sum of n rows' energies has lost the digits that an acceptance needs once n is large or T small; the sum of
        their differences from a point in the same region has not.  `offsets` are what is missing.
        """
        absolute = self.with_data(self.data)
        relative = self.with_data(self.data)
        if position is None:  # an absolute energy that shares the programs of relative ones
            shapes = jax.eval_shape(_terms, absolute, jax.ShapeDtypeStruct((self.size,), jnp.result_type(float)))
            prior, rows, _ = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
            relative.reference = Reference(prior, rows, np.zeros(2))
        else:
            prior, rows, outputs = _terms(absolute, position)
            sums = [sum_in_double(prior), self.model.data_energy_in_double(rows, outputs, self.data)]
            relative.reference = Reference(prior, rows, np.array(sums))
        return relative

    def over_rows(self, devices: int) -> Self:
        """The same energies for rows that so many devices share, filled up to an equal share each.

        Only inside `sharding.on_mesh` can such an energy be evaluated.

        Raises
        ------
        InputError
            If the data energy is not a sum over rows of the data.
        """
        if devices == 1:
            return self
        rows = self.num_rows
        if rows is None or any(jnp.shape(leaf)[:1] != (rows,) for leaf in jax.tree.leaves(self.data)):
            raise InputError("row_devices", devices, "asks for rows to share", "let data_energy return one value a row")
        if not isinstance(self.model, NetworkModel):
            self._check_apart(rows, devices)
        spare = -rows % devices

        def fill(leaf: Array) -> Array:
            return jnp.concatenate([leaf, jnp.broadcast_to(leaf[:1], (spare, *leaf.shape[1:]))])

        spread = self.with_data(jax.tree.map(fill, self.data))
        if self.reference is not None:
            spread.reference = self.reference._replace(rows=fill(self.reference.rows))
        spread.weights = jnp.concatenate([jnp.ones(rows), jnp.zeros(spare)])
        return spread

    def _check_apart(self, rows: int, devices: int) -> None:
        """Say so where a part of the rows has other energies than among all: a mean over rows, say, is of these."""

        def terms(part: slice) -> tuple[float, float]:
            energy = self.relative_to(None).with_data(jax.tree.map(lambda leaf: leaf[part], self.data))
            position = jnp.full(self.size, 0.1, jnp.result_type(float))
            data = jnp.sum(energy.model.row_energies(energy.unravel(position), energy.data))
            return float(data), float(energy.prior_energy(position))

        remedy = "leave it at 1: what one row means depends on the others, or on how many there are"
        whole = terms(slice(None))
        try:
            halves = [terms(part) for part in (slice(None, rows // 2), slice(rows // 2, None))]
        except Exception as error:  # whatever a user's function raises of fewer rows
            raise InputError("row_devices", devices, f"splits rows ({told(error)})", remedy) from error
        together = (halves[0][0] + halves[1][0], halves[0][1])
        if not np.allclose(whole, together, rtol=1e-3, atol=1e-2, equal_nan=True):
            raise InputError("row_devices", devices, "splits rows whose energies are not their own", remedy)

    def offsets(self) -> tuple[float, float]:
        """Prior and data energy of the reference point, in nats and double precision; 0 where there is none."""
        prior, data = (0.0, 0.0) if self.reference is None else self.reference.sums
        return float(prior), float(data)

    def log_likelihood(self, position: Position) -> Float[Array, " row"]:
        """Log p(y_i | x_i, θ) of every row of the data, in nats.

        Raises
        ------
        InputError
            If the user's ``data_energy`` returns a scalar.

        See Also
        --------
        temperax.add_log_likelihood

        Examples
        --------
        >>> energy.log_likelihood(energy.sample_prior(key)).shape
        (40,)
        """
        rows = self.model.row_energies(self.unravel(position), self.data)
        if rows.ndim == 0:
            raise InputError("energy", self.model, "has no rows", "let data_energy return one value a row")
        return -rows

    def log_likelihoods(self, position: Position) -> dict[str, Float[Array, "*row"]]:
        """The same by name, as a result holds them, and each in its own shape: those of several targets apart."""
        if self.num_rows is None:
            return {"y": self.log_likelihood(position)}  # which says what is missing
        found = self.model.log_likelihoods(self.unravel(position), self.data)
        return {variable_name(name): values for name, values in found.items()}

    @property
    def likelihood_dims(self) -> dict[str, list[str]]:
        """Names of the dimensions of `log_likelihoods`."""
        position = jax.ShapeDtypeStruct((self.size,), jnp.result_type(float))
        shapes = {name: rows.shape for name, rows in jax.eval_shape(self.bare().log_likelihoods, position).items()}
        return dimensions(shapes, self.model.known_dims(self.data))

    def bare(self) -> Self:
        """The same energy without what is on the host, by which compiled programs would tell energies apart."""
        return self._bare(self.model, self.prior, self.data, self.reference, self.weights)

    def with_data(self, data: Any) -> Self:
        """The same model on other data of the same structure, unchecked: for use inside the library."""
        return self._bare(self.model, self.prior, data)

    @classmethod
    def _bare(cls, model: Any, prior: Any, data: Any, reference: Any = None, weights: Any = None) -> Self:
        energy = object.__new__(cls)
        energy.model, energy.prior, energy.data = model, prior, data
        energy.reference, energy.weights = reference, weights
        return energy

    def _row_energies(self) -> jax.ShapeDtypeStruct:
        """Shape and type of what the model returns, without computing it."""
        position = jax.ShapeDtypeStruct((self.size,), jnp.result_type(float))

        def evaluate(energy: Self, q: Array) -> Any:
            out = energy.model.row_energies(energy.unravel(q), energy.data)
            if not isinstance(out, (jax.Array, np.ndarray, np.number, int, float, complex)):
                raise InputError("data_energy", out, "is not a real scalar or one number a row", "return -log p(D|θ)")
            return out

        return jax.eval_shape(evaluate, self, position)


@jax.jit
def _terms(energy: Summed, position: Position) -> tuple[Any, Array, Any]:
    parameters, model = energy.unravel(position), energy.model
    rows, outputs = model.row_energies(parameters, energy.data), model.outputs(parameters, energy.data)
    return energy.prior_terms(position), rows, outputs
