"""NumPyro's models as energies: latent sites are the prior energy, observed sites and factors the data energy.

A model is run under NumPyro's own handlers, once for each of the two energies and at constrained values; what one of
them does not need, the compiler leaves out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from arviz_base.io_numpyro import infer_dims
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float
from numpyro import distributions as dist
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.infer import Predictive, init_to_sample
from numpyro.infer.util import constrain_fn, unconstrain_fn

from temperax.energies.densities import log_prob
from temperax.energies.doors.arguments import Arguments
from temperax.energies.models import FunctionModel, Model
from temperax.energies.names import dimensions, variable_name
from temperax.energies.positions import Joint
from temperax.errors import InputError, told


class Latent(NamedTuple):
    """A continuous latent site: its name, and its shape with and without constraints."""

    name: str
    shape: tuple[int, ...]
    free: tuple[int, ...]


@register_dataclass
@dataclass(frozen=True)
class SitesModel(Model, Joint):
    """A NumPyro model and what is known of its sites; hashable, so that two equal ones share a compiled program."""

    function: Callable = field(metadata={"static": True})
    arguments: Arguments = field(metadata={"static": True})
    latents: tuple[Latent, ...] = field(default=(), metadata={"static": True})
    observed: tuple[str, ...] = field(default=(), metadata={"static": True})
    summed: tuple[str, ...] = field(default=(), metadata={"static": True})
    proper: bool = field(default=True, metadata={"static": True})
    max_plates: int = field(default=0, metadata={"static": True})
    decided: tuple[str, ...] = field(default=(), metadata={"static": True})

    def __repr__(self) -> str:
        """The function's name and what it observes."""
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        return f"NumPyro model {name}, which observes {', '.join(self.observed) or 'nothing'}"

    def prepared(self, data: Any, key: Array | None = None) -> tuple[Callable, tuple, dict[str, Any]]:
        """The model with its parameters fixed and what else is random made of a key, and its arguments."""
        args, kwargs = self.arguments.filled(data["arrays"])
        model = handlers.substitute(self.function, data=data["fixed"]) if data["fixed"] else self.function
        return handlers.seed(model, jax.random.key(0) if key is None else key), args, kwargs

    def trace(self, values: Mapping[str, Array], data: Any) -> dict[str, Any]:
        """What the model does at these constrained values of its latent sites."""
        model, args, kwargs = self.prepared(data)
        return handlers.trace(handlers.substitute(model, data=dict(values))).get_trace(*args, **kwargs)

    def row_energies(self, parameters: Mapping[str, Array], data: Any) -> Float[Array, " row"]:
        """-log p of every observed value, site after site, in nats; one number where discrete sites are summed out."""
        if self.summed:
            return -self._summed_out(parameters, data)
        sites = self.trace(parameters, data)
        rows = [jnp.ravel(-_log_prob(sites[name])) for name in self.observed]
        return jnp.concatenate(rows).astype(jnp.result_type(float)) if rows else jnp.zeros(1)

    def log_likelihoods(self, parameters: Mapping[str, Array], data: Any) -> dict[str, Array]:
        """Log p of the values of every observed site, and of factors, in nats; not scaled where the model scales it."""
        sites = self.trace(parameters, data)
        logs = {name: log_prob(sites[name]["fn"], sites[name]["value"]) for name in self.observed}
        return {name: values.astype(jnp.result_type(float)) for name, values in logs.items()}

    def shown(self, parameters: Mapping[str, Array], data: Any) -> dict[str, Array]:
        """The latent sites and the deterministic ones, but for those that sites decide that were summed out."""
        sites = self.trace(parameters, data)
        named = [name for name, site in sites.items() if site["type"] == "deterministic" and name not in self.decided]
        deterministic = {name: sites[name]["value"] for name in named}
        return dict(parameters) | deterministic

    def known_dims(self, data: Any) -> dict[str, list[str]]:
        """Names of the plates, as ArviZ finds them."""
        _, args, kwargs = self.prepared(data)
        return _dims_of(handlers.substitute(self.function, data=data["fixed"]), args, kwargs)

    # -- as the distribution of its latent sites --

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the unconstrained latent sites."""
        return {latent.name: latent.free for latent in self.latents}

    def constrain(self, free: Mapping[str, Array], data: Any) -> dict[str, Array]:
        """Values of the latent sites, whose supports may depend on those of others."""
        found = constrain_fn(*self.prepared(data), dict(free))
        return {latent.name: found[latent.name] for latent in self.latents}

    def release(self, values: Mapping[str, Array], data: Any) -> dict[str, Array]:
        """The latent sites without constraints."""
        own = {latent.name: jnp.asarray(values[latent.name]) for latent in self.latents}
        return unconstrain_fn(*self.prepared(data), own)

    def draw(self, key: Array, data: Any) -> dict[str, Array]:
        """A draw of the latent sites; those of flat priors unconstrained and uniform within 2 of 0."""
        model, args, kwargs = self.prepared(data, key)
        sites = handlers.trace(handlers.substitute(model, substitute_fn=init_to_sample)).get_trace(*args, **kwargs)
        return {latent.name: sites[latent.name]["value"] for latent in self.latents}

    def terms(self, free: Mapping[str, Array], data: Any) -> dict[str, Array]:
        """-log p of the latent sites, log-Jacobian included."""
        values, terms = self.constrain(free, data), {}
        sites = self.trace(values, data)
        for name, value in values.items():
            log, transform = _log_prob(sites[name]), biject_to(sites[name]["fn"].support)
            jacobian = transform.log_abs_det_jacobian(free[name], value)
            spare = tuple(range(-(jnp.ndim(jacobian) - jnp.ndim(log)), 0))
            jacobian = jnp.sum(jacobian, axis=spare)
            whole = jnp.shape(jacobian) == jnp.shape(log)  # else a mask has spread the density of one value
            terms[name] = -(log + jacobian) if whole else -(jnp.sum(log) + jnp.sum(jacobian))
        return terms

    def localised(self, model: Any, free: Mapping[str, Array], precision: float) -> tuple[Any, Any]:
        """The data energy as a function of unconstrained parameters, each under a normal distribution."""
        prior = {name: dist.Normal(value, jnp.full_like(value, precision**-0.5)) for name, value in free.items()}
        return FunctionModel(_FreeRows(self)), prior

    # -- with other arguments --

    def predicted(
        self, key: Array, drawn: Mapping[str, Array], data: Any, args: tuple, kwargs: dict[str, Any]
    ) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
        """What the model makes of draws of its latent sites (leading axis), by site, and names of its dimensions."""
        model = handlers.substitute(self.function, data=data["fixed"])
        try:
            shapes = _shapes_of(model, args, kwargs)
            # New groups have new effects: what the arguments give another shape is drawn again, given the others.
            kept = {name: jnp.asarray(value) for name, value in drawn.items() if value.shape[1:] == shapes.get(name)}
            found = Predictive(model, kept)(key, *args, **kwargs)
            known = _dims_of(model, args, kwargs)
        except Exception as error:  # whatever a user's model raises
            raise failing(self.function, error) from error
        values = {variable_name(name): np.asarray(value) for name, value in found.items()}
        return values, dimensions({name: value.shape[1:] for name, value in values.items()}, known)

    def _summed_out(self, parameters: Mapping[str, Array], data: Any) -> Float[Array, ""]:
        """Log p(D | θ) with the discrete sites summed out by funsor: what the joint has besides the latents' own."""
        from numpyro.contrib.funsor import config_enumerate, enum, log_density

        model, args, kwargs = self.prepared(data)
        summed = enum(config_enumerate(model), -self.max_plates - 1)
        joint = log_density(summed, args, kwargs, dict(parameters))[0]
        sites = self.trace(parameters, data)
        return joint - sum(jnp.sum(_log_prob(sites[latent.name])) for latent in self.latents)


def _log_prob(site: Mapping[str, Any]) -> Array:
    """Log p of a site's values, scaled where the model scales it, in nats."""
    found = log_prob(site["fn"], site["value"])
    return found if site["scale"] is None else site["scale"] * found


@dataclass(frozen=True)
class _FreeRows:
    """The data energy as a function of the unconstrained values, for a prior of theirs."""

    model: SitesModel

    def __call__(self, free: Mapping[str, Array], data: Any) -> Array:
        """Row energies at unconstrained values."""
        return self.model.row_energies(self.model.constrain(free, data), data)


def _dims_of(model: Callable, args: tuple, kwargs: dict[str, Any]) -> dict[str, list[str]]:
    """Names of the dimensions of sites, as ArviZ finds them."""
    found = infer_dims(model, args, kwargs)
    return {variable_name(name): list(map(variable_name, dims)) for name, dims in found.items()}


def _shapes_of(model: Callable, args: tuple, kwargs: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of what the sample sites of a model hold with these arguments."""
    shapes: dict[str, tuple[int, ...]] = {}

    def run(key: Array) -> None:
        sites = handlers.trace(handlers.substitute(handlers.seed(model, key), substitute_fn=init_to_sample))
        found = sites.get_trace(*args, **kwargs)
        shapes.update({name: jnp.shape(site["value"]) for name, site in found.items() if site["type"] == "sample"})

    jax.eval_shape(run, jax.random.key(0))
    return shapes


def failing(function: Callable, error: Exception) -> InputError:
    """What to say of a model that raises an error of its own."""
    problem = f"fails on its arguments ({told(error)})"
    return InputError(
        "model", getattr(function, "__qualname__", function), problem, "call it with those it is made for"
    )
