"""Temperatures inside `numpyro.infer.MCMC`: tempered models, HMC and NUTS of them, and a ladder as a kernel.

What a ladder's other rungs say (log Z, round trips, the report) is lost here: `Energy.from_numpyro` with
`parallel_tempering` keeps it.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro import handlers
from numpyro.infer import HMC, NUTS
from numpyro.infer.mcmc import MCMCKernel
from numpyro.infer.util import constrain_fn
from numpyro.primitives import Messenger
from numpyro.util import is_prng_key

from temperax.energies.energy import Energy
from temperax.engine import engine, tempering
from temperax.engine import ladder as ladders
from temperax.engine.kernels import KernelLike, as_kernel
from temperax.engine.program import Program, State, make_program
from temperax.engine.scanning import scan_once
from temperax.errors import InputError, check_choice, check_key, check_positive
from temperax.machine import sharding
from temperax.results.carried import RUN
from temperax.samplers.drawing import Clock
from temperax.samplers.parallel_tempering import first_path, fitted_to_curvature, round_lengths, run_rounds
from temperax.samplers.runs import Run
from temperax.samplers.setup import begin, check_exact
from temperax.samplers.tuner import MOST_TRANSITIONS, Tuner

#: Names of the factors in which NumPyro holds a transform's Jacobian, whatever scopes they are in.
JACOBIAN = re.compile(r"(.*/)?_.*_log_det")


class tempered(Messenger):  # noqa: N801 - a handler, named as NumPyro names its own
    """A NumPyro model at a temperature, for any kernel of NumPyro's.

    Discrete sites that a kernel sums out are refused at T ≠ 1: what is tempered is the sum, not what is summed.

    Parameters
    ----------
    fn
        The model.
    temperature
        T = 1/β.
    path
        ``"likelihood"``: observed sites and factors are raised to the power β; ``"posterior"``: all of the density of
        the unconstrained parameters is.

    Raises
    ------
    InputError
        For bad arguments; and where a kernel sums a discrete site out.

    See Also
    --------
    temperax.numpyro.TemperedHMC, temperax.Energy.from_numpyro

    Examples
    --------
    >>> import numpyro, numpyro.distributions as dist
    >>> from numpyro.infer.util import log_density
    >>> def model(y):
    ...     numpyro.sample("y", dist.Normal(numpyro.sample("mean", dist.Normal(0, 1)), 1), obs=y)
    >>> hot = tx.numpyro.tempered(model, temperature=1e6)
    >>> value, _ = log_density(hot, (jnp.array(5.0),), {}, {"mean": jnp.array(0.0)})
    >>> bool(jnp.isclose(value, dist.Normal(0, 1).log_prob(0.0), atol=1e-4))  # the prior's is left
    True
    """

    def __init__(self, fn: Callable | None = None, temperature: float = 1.0, path: str = "likelihood") -> None:
        self.beta = 1.0 / check_positive("temperature", temperature)
        self.whole = check_choice("path", path, {"likelihood": False, "posterior": True})
        super().__init__(fn)

    def process_message(self, msg: dict[str, Any]) -> None:
        """Scale what a site adds to the log density."""
        if msg["type"] != "sample":
            return
        jacobian = JACOBIAN.fullmatch(msg["name"])
        if self.whole or (msg["is_observed"] and not jacobian):
            msg["scale"] = self.beta if msg["scale"] is None else self.beta * msg["scale"]

    def postprocess_message(self, msg: dict[str, Any]) -> None:
        """Refuse a site whose values are gone through, which NumPyro marks as done: it adds them up scaled."""
        if msg["type"] == "sample" and msg.get("done") and not msg["is_observed"] and self.beta != 1:
            problem = "is summed out after each of its terms is tempered, and not before"
            remedy = "use Energy.from_numpyro, which tempers the sum"
            raise InputError("model", f"site {msg['name']}", problem, remedy)


class TemperedHMC(HMC):
    """NumPyro's HMC of a model at a temperature; all else is as in ``numpyro.infer.HMC``.

    Parameters
    ----------
    model, temperature, path
        As in `tempered`.
    **options
        As in ``numpyro.infer.HMC``.

    See Also
    --------
    temperax.numpyro.TemperedNUTS, temperax.numpyro.ParallelTempering

    Examples
    --------
    >>> import numpyro, numpyro.distributions as dist
    >>> from numpyro.infer import MCMC
    >>> def model(y):
    ...     numpyro.sample("y", dist.Normal(numpyro.sample("mean", dist.Normal(0, 1)), 1), obs=y)
    >>> mcmc = MCMC(tx.numpyro.TemperedHMC(model, 0.5), num_warmup=50, num_samples=50, progress_bar=False)
    >>> mcmc.run(key, jnp.array(5.0))
    >>> mcmc.get_samples()["mean"].shape
    (50,)
    """

    def __init__(self, model: Callable, temperature: float = 1.0, path: str = "likelihood", **options: Any) -> None:
        super().__init__(tempered(model, temperature, path), **options)


class TemperedNUTS(NUTS):
    """NumPyro's NUTS of a model at a temperature; see `TemperedHMC`.

    See Also
    --------
    temperax.numpyro.TemperedHMC

    Examples
    --------
    >>> import numpyro, numpyro.distributions as dist
    >>> from numpyro.infer import MCMC
    >>> def model(y):
    ...     numpyro.sample("y", dist.Normal(numpyro.sample("mean", dist.Normal(0, 1)), 1), obs=y)
    >>> kernel = tx.numpyro.TemperedNUTS(model, 0.5, path="posterior")
    >>> mcmc = MCMC(kernel, num_warmup=50, num_samples=50, progress_bar=False)
    >>> mcmc.run(key, jnp.array(5.0))
    >>> mcmc.get_samples()["mean"].shape
    (50,)
    """

    def __init__(self, model: Callable, temperature: float = 1.0, path: str = "likelihood", **options: Any) -> None:
        super().__init__(tempered(model, temperature, path), **options)


class LadderState(NamedTuple):
    """What `ParallelTempering` hands on; fields with a leading axis of chains where these are vectorized."""

    i: Array
    z: dict[str, Array]  # unconstrained, at T = 1
    potential_energy: Array
    diverging: Array
    accept_prob: Array
    swap_acceptance: Array
    round_trips: Array
    rng_key: Array
    program: Program
    run_key: Array
    ladder: State


class ParallelTempering(MCMCKernel):
    """A ladder of replicas that exchange their temperatures, as a kernel of ``numpyro.infer.MCMC``.

    The ladder adapts in rounds of about ``num_warmup`` scans before MCMC's own warm-up, whose samples are passed over.
    With ``chain_method="vectorized"`` or ``"sequential"`` every chain is a ladder.

    Parameters
    ----------
    model
        A NumPyro model.
    path, kernel, num_replicas, ladder
        As in `temperax.parallel_tempering`; a ladder of one's own has a rung at T = 1.
    hottest
        Temperature of the hot end; it is not looked for: None is β = 0, and T = 64 on the posterior path.

    See Also
    --------
    temperax.parallel_tempering, temperax.Energy.from_numpyro

    Examples
    --------
    >>> import numpyro, numpyro.distributions as dist
    >>> from numpyro.infer import MCMC
    >>> def model(y):
    ...     numpyro.sample("y", dist.Normal(abs(numpyro.sample("mean", dist.Normal(0, 3))), 0.5), obs=y)
    >>> mcmc = MCMC(
    ...     tx.numpyro.ParallelTempering(model, num_replicas=5), num_warmup=64, num_samples=100, progress_bar=False
    ... )
    >>> mcmc.run(key, jnp.array(3.0))
    >>> bool(0.2 < (mcmc.get_samples()["mean"] > 0).mean() < 0.8)  # both modes
    True
    """

    sample_field = "z"

    def __init__(
        self,
        model: Callable,
        *,
        path: str = "likelihood",
        kernel: KernelLike = "auto",
        num_replicas: int | str = "auto",
        hottest: float | None = None,
        ladder: Any = None,
    ) -> None:
        check_choice("path", path, {**tempering.PATHS, "reference": None})
        self._model = model
        self._path, self._kernel, self._ladder = path, kernel, ladder
        if isinstance(hottest, str):
            raise InputError(
                "hottest", hottest, "is looked for by temperax.parallel_tempering alone", "give a temperature"
            )
        self._betas = ladders.first(path, num_replicas, hottest, 1.0, ladder)
        if not np.isclose(self._betas[tempering.target_slot(self._betas)], 1.0, rtol=1e-6):
            raise InputError("ladder", ladder, "has no rung at T = 1, whose draws MCMC returns", "give it β = 1")
        self._auto = isinstance(num_replicas, str) and ladder is None
        self._sample_fn: Callable | None = None

    @property
    def model(self) -> Callable:
        """The model, as ArviZ asks for it."""
        return self._model

    @property
    def default_fields(self) -> tuple[str, ...]:
        """What MCMC collects."""
        return ("z", "diverging")

    def get_diagnostics_str(self, state: LadderState) -> str:
        """What the progress bar says."""
        return f"acc. prob={np.mean(state.accept_prob):.2f}, swaps={np.mean(state.swap_acceptance):.2f}"

    def postprocess_fn(self, args: tuple, kwargs: dict[str, Any]) -> Callable:
        """Constrained values and deterministic sites, but for those that sites decide that were summed out."""
        model = handlers.seed(handlers.substitute(self._model, data=self._fixed), 0)

        def shown(z: dict[str, Array]) -> dict[str, Array]:
            found = constrain_fn(model, args, kwargs or {}, z, return_deterministic=True)
            return {name: value for name, value in found.items() if name not in self._decided}

        return shown

    def init(
        self, rng_key: Array, num_warmup: int, init_params: Any, model_args: tuple, model_kwargs: dict[str, Any]
    ) -> LadderState:
        """Adapt the ladder."""
        if isinstance(rng_key, jax.core.Tracer):
            raise InputError("chain_method", "parallel", "leaves no host to adapt on", "give 'vectorized'")
        if init_params is not None:
            raise InputError("init_params", init_params, "are not used", "leave them out: replicas start dispersed")
        chains = 1 if is_prng_key(rng_key) else len(rng_key)
        key = check_key(rng_key if is_prng_key(rng_key) else rng_key[0])
        self._vectorized = not is_prng_key(rng_key)
        energy = Energy.from_numpyro(self._model, *model_args, **(model_kwargs or {}))
        chosen = as_kernel(self._kernel, energy, on_a_ladder=True)
        check_exact(self._kernel, chosen, "the draws")
        sites: Any = energy.model
        self._fixed, self._decided = energy.data["fixed"], sites.decided
        program = make_program(
            energy,
            self._betas,
            path=first_path(self._path, energy),
            kernel=chosen,
            num_chains=chains,
            kept=np.array([tempering.target_slot(self._betas)]),
            thin=1,
            scheme="deterministic",
            batch_size=None,
        )
        run = Run(plan=round_lengths(None, max(32, 2 * num_warmup)))
        tuner = Tuner(
            fixed=self._ladder is not None, auto=self._auto, path=self._path, transitions=(1, MOST_TRANSITIONS)
        )
        clock, run_key = Clock(run), jax.random.fold_in(key, RUN)
        program, state, origin = begin(run, key, energy, program, "optimum", clock)
        if self._path == "reference" and not energy.proper:
            program, state = fitted_to_curvature(program, run_key, state, energy, origin)
        program, state = run_rounds(run, tuner, program, run_key, state, origin, clock)
        self._sample_fn = self.sample
        self._num_warmup = num_warmup
        zero, flags = jnp.zeros(chains, program.betas.dtype), jnp.zeros(chains, bool)
        number = jnp.zeros(chains, jnp.int32)
        seen = self._seen(program, _targets(program, state), zero, flags, zero, zero, number)
        return LadderState._make([jnp.int32(0), *seen, rng_key, program, run_key, state])

    def sample(self, state: LadderState, model_args: tuple, model_kwargs: dict[str, Any]) -> LadderState:
        """One scan of the ladder; MCMC's own warm-up is passed over."""
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((model_args, model_kwargs))):
            problem = "would change the data under a ladder that was adapted to others"
            raise InputError("jit_model_args", True, problem, "leave it False")
        return jax.lax.cond(state.i < self._num_warmup, lambda s: s._replace(i=s.i + 1), self._scan, state)

    def _scan(self, state: LadderState) -> LadderState:
        def scan(program: Program, key: Array, state: State) -> tuple:
            after, report, swaps = scan_once(program, key, state, jnp.bool_(False))
            slot = program.keep[0]
            potential = tempering.temper(report.base[:, slot], report.path[:, slot], program.betas[slot])
            seen = potential, report.diverging[:, slot], report.acceptance_rate[:, slot]
            return after, (*seen, jnp.mean(swaps.acceptance, axis=1), after.journeys.round_trips)

        out = (engine.STATE, sharding.ON_EVERY_DEVICE)
        program, run_key = state.program, state.run_key
        for word in _words(state.rng_key):  # of `mcmc.run`, which after `mcmc.warmup` brings one of its own
            run_key = jax.random.fold_in(run_key, word)
        ladder, seen = engine.on_devices(scan, program, run_key, state.ladder, out=out)
        values = self._seen(program, _targets(program, ladder), *seen)
        return LadderState._make([state.i + 1, *values, state.rng_key, program, state.run_key, ladder])

    def _seen(self, program: Program, positions: Array, *numbers: Array) -> tuple:
        """Positions as NumPyro knows them and numbers, by chain where there are several."""
        values = (jax.vmap(program.energy.free)(positions), *numbers)
        return values if self._vectorized else jax.tree.map(lambda leaf: leaf[0], values)


def _words(key: Array) -> Array:
    """The numbers that a key is made of; of several, those of the first."""
    data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    return data.reshape(-1, data.shape[-1])[0]


def _targets(program: Program, state: State) -> Array:
    """Positions (chain, parameter) at T = 1."""

    def pick(program: Program, state: State) -> Array:
        replica = state.journeys.replica[:, program.keep]
        kept = jnp.arange(program.num_chains)[:, None] * len(program.betas) + replica
        return sharding.picked(program.mesh, program.num_replicas, state.points.position, kept)[:, 0]

    return engine.on_devices(pick, program, state, out=sharding.ON_EVERY_DEVICE)
