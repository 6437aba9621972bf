"""Opening a NumPyro model: what its sites say of it, and whether it can be sampled."""

import importlib.util
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro import distributions as dist
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.distributions.util import is_identically_one
from numpyro.infer import init_to_sample
from numpyro.ops.provenance import eval_provenance

from temperax.energies.densities import log_prob
from temperax.energies.doors.arguments import Arguments
from temperax.energies.doors.sites import Latent, SitesModel, failing
from temperax.energies.names import check_names, dimensions, variable_name
from temperax.energies.parameters import is_improper, is_masked
from temperax.errors import InputError, check_callable, listed

#: What computing with an argument's values in Python raises, where they are not known until the program runs.
_CONCRETE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
#: Kinds of arrays that are kept constant where a model computes with them in Python: first those that count things.
_CONSTANT = ("", "biu", "biuf")


def opened(function: Callable, args: tuple, kwargs: dict[str, Any]) -> tuple[SitesModel, dict[str, Any], tuple]:
    """A model with its sites, its data, and the values that it observes with the names of their dimensions.

    Raises
    ------
    InputError
        If it cannot be sampled.
    """
    check_callable("model", function, "a function that makes NumPyro's sites")
    if inspect.ismethod(function):  # equal to itself whatever its object has become in between
        function = partial(function.__func__, function.__self__)
    model, data, values, deterministic = _tried(function, (args, kwargs))
    check_names("model", dict.fromkeys([*model.shapes(), *deterministic], 0))
    try:
        jax.eval_shape(_energies, model, data)
    except Exception as error:  # whatever its distributions raise
        raise failing(function, error) from error
    return model, data, (values, dimensions({name: v.shape for name, v in values.items()}, model.known_dims(data)))


def _energies(model: SitesModel, data: Any) -> tuple[Any, Array]:
    free = {latent.name: jnp.zeros(latent.free) for latent in model.latents}
    return model.terms(free, data), model.row_energies(model.constrain(free, data), data)


def _tried(function: Callable, given: tuple) -> tuple[SitesModel, dict[str, Any], dict[str, np.ndarray], list[str]]:
    """A model of these arguments, with as many of their arrays for values that may change as it allows."""
    for kinds in _CONSTANT:
        arguments = Arguments(given, kinds)
        try:
            return _inspected(SitesModel(function, arguments), arguments.arrays(given))
        except _CONCRETE as error:
            if kinds == _CONSTANT[-1]:
                raise failing(function, error) from error
        except InputError:
            raise
        except Exception as error:  # whatever a user's model raises
            raise failing(function, error) from error
    raise AssertionError("the last kind of arguments returns or raises")


def _inspected(model: SitesModel, arrays: list) -> tuple[SitesModel, dict[str, Any], dict[str, np.ndarray], list[str]]:
    """Run a model once, abstractly, and keep what its sites say; only observed values and parameters are computed."""
    known: dict[str, Any] = {}

    @jax.jit
    def values(key: Array, arrays: list) -> tuple[dict, dict]:
        function, args, kwargs = model.prepared({"arrays": arrays, "fixed": {}}, key)
        sites = handlers.trace(handlers.substitute(function, substitute_fn=init_to_sample)).get_trace(*args, **kwargs)
        try:
            known.update(_about(sites))
        except InputError as error:  # which JAX would add its own words to
            known["refusal"] = error
            return {}, {}
        observed = {name: sites[name]["value"] for name in known["observed"]}
        return observed, {name: site["value"] for name, site in sites.items() if site["type"] == "param"}

    observed, fixed = values(jax.random.key(0), arrays)
    if "refusal" in known:
        raise known["refusal"]
    observed = {name: np.asarray(value) for name, value in observed.items()}
    for name, value in observed.items():
        if name not in known["masked"] and value.dtype.kind == "f" and np.isnan(value).any():
            rows = sorted({int(place[0]) for place in np.argwhere(np.isnan(value)) if len(place)})
            problem = f"has no value in rows {listed(rows)}" if rows else "has no value"
            raise InputError("model", f"site {name}", problem, "leave them out, or make them latent sites")
    found = replace(model, **{k: known[k] for k in ("latents", "observed", "summed", "proper", "max_plates")})
    shown = {variable_name(name): value for name, value in observed.items() if value.size}  # of factors there are none
    data = {"arrays": arrays, "fixed": fixed}
    if found.summed:
        found = replace(found, decided=_decided(found, data))
    return found, data, shown, [name for name in known["deterministic"] if name not in found.decided]


def _about(sites: Mapping[str, Any]) -> dict[str, Any]:
    """What the sites of a model say of it, and whether it can be sampled."""
    latents, observed, discrete, masked, proper, plates = [], [], [], [], True, [0]
    for name, site in sites.items():
        if site["type"] == "plate" and site["args"][1] is not None and site["args"][0] != site["args"][1]:
            problem = "shows a part of the rows at a time, so that the energy is an estimate"
            raise InputError("model", f"plate {name}", problem, "leave out subsample_size")
        if site["type"] == "mutable" and jax.tree.leaves(site["value"]):
            problem = "keeps a state that calls change, as batch statistics do"
            raise InputError("model", f"site {name}", problem, "use a module without one")
        if site["type"] != "sample":
            continue
        plates += [-frame.dim for frame in site["cond_indep_stack"] if frame.dim is not None]
        whole = name.removesuffix("_unobserved")
        if whole != name and f"{whole}_observed" in sites and whole in sites:
            raise InputError("model", f"site {whole}", "is observed in part", "make its missing values a latent site")
        shapes = jnp.shape(site["value"]), tuple(site["fn"].shape())
        if site["is_observed"] and shapes[0] and shapes[0] != jnp.broadcast_shapes(*shapes):
            problem = f"observes values of shape {shapes[0]} under a distribution of shape {shapes[1]}"
            raise InputError("model", f"site {name}", problem, "give them one shape")
        if site["is_observed"]:
            observed.append(name)
            masked += [name] * is_masked(site["fn"])
        elif site["fn"].support.is_discrete:
            if not site["fn"].has_enumerate_support or site["infer"].get("enumerate", "parallel") != "parallel":
                problem = "is discrete, and its values cannot all be gone through at once"
                raise InputError("model", f"site {name}", problem, "write the sum over them yourself, or bound them")
            discrete.append(name)
        else:
            latents.append(_latent(name, site))
            scaled = site["scale"] is not None and not is_identically_one(site["scale"])
            proper = proper and not (scaled or is_improper(site["fn"]))
    if discrete and importlib.util.find_spec("funsor") is None:
        problem = "is discrete, and follows no gradient"
        raise InputError("model", f"site {discrete[0]}", problem, "install funsor, by which such sites are summed out")
    if not latents:
        raise InputError("model", sorted(sites), "has no continuous latent site", "give it parameters to sample")
    return {
        "latents": tuple(sorted(latents)),  # as a pytree of their names has them
        "observed": tuple(observed),
        "summed": tuple(discrete),
        "masked": masked,
        "deterministic": [name for name, site in sites.items() if site["type"] == "deterministic"],
        "proper": proper,
        "max_plates": max(plates),
    }


def _latent(name: str, site: Mapping[str, Any]) -> Latent:
    fault = ""
    if isinstance(site["fn"], dist.Delta):
        fault = "is a point (Delta), which has no density"
    try:
        transform = biject_to(site["fn"].support)
    except NotImplementedError:
        fault = f"has a support ({type(site['fn'].support).__name__}) without an unconstrained form"
    if fault:
        raise InputError(
            "model", f"site {name}", fault, "make it a deterministic site, or give it another distribution"
        )
    return Latent(name, jnp.shape(site["value"]), jax.eval_shape(transform.inv, site["value"]).shape)


def _decided(model: SitesModel, data: Any) -> tuple[str, ...]:
    """Deterministic sites whose values discrete ones have a part in, of which a sum over these leaves none.

    Raises
    ------
    InputError
        Where a discrete site decides how a continuous one is distributed: no prior energy is apart then.
    """
    values = {latent.name: jnp.zeros(latent.shape) for latent in model.latents}

    def drawn(values: dict[str, Array]) -> dict[str, Array]:
        sites = model.trace(values, data)
        return {name: sites[name]["value"] for name in model.summed}

    def made(values: dict[str, Array], discrete: dict[str, Array]) -> tuple[dict, dict]:
        sites = model.trace(values | discrete, data)
        shown = {name: site["value"] for name, site in sites.items() if site["type"] == "deterministic"}
        return shown, {name: log_prob(sites[name]["fn"], value) for name, value in values.items()}

    shown, densities = eval_provenance(made, values=values, discrete=jax.eval_shape(drawn, values))
    moved = [name for name, sources in densities.items() if "discrete" in sources]
    if moved:
        problem = "is distributed as a discrete site decides"
        raise InputError("model", f"site {moved[0]}", problem, "write the sum over that site yourself")
    return tuple(name for name, sources in shown.items() if "discrete" in sources)
