"""The contestants of ``benchmarks.sampling``: four posteriors, temperax, and its peers.

All are given the same log density, prior and data energy of one `temperax.Energy` on its flat position, in single
precision.  A peer is a generator: what it does before its first ``yield None`` is warm-up (starting points and
compilation included), and every `Chunk` after that continues the same chains.  temperax is asked by its public
functions for whole runs, which say themselves when their draws were there.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array
from jax.sharding import Mesh, PartitionSpec

import temperax as tx
from temperax.energies.energy import Energy

CHAINS = 4


class Target(NamedTuple):
    """A posterior."""

    dataset: str
    hidden: tuple[int, ...]
    activation: str
    likelihood: tx.likelihoods.Likelihood
    warmup: int  # iterations of the peers' warm-up
    block: int  # draws between looks at the clock
    patience: float = 1.0  # limits, as multiples of the option's

    def energy(self) -> Energy:
        """Its energy: split 0, N(0, 1) priors."""
        data = tx.datasets.load(self.dataset, split=0)
        return tx.Energy.mlp(data, self.hidden, self.activation, self.likelihood, tx.priors.Normal(1.0))


TARGETS = {
    "diabetes": Target("diabetes", (50,), "tanh", tx.likelihoods.Gaussian(), 1000, 250),
    "breast_cancer": Target("breast_cancer", (50,), "tanh", tx.likelihoods.Bernoulli(), 1000, 250),
    "concrete": Target("concrete", (50,), "tanh", tx.likelihoods.Gaussian(), 1000, 100),
    "airfoil": Target("airfoil", (16,) * 4, "relu", tx.likelihoods.HeteroscedasticGaussian(), 500, 50, 2.0),
}


class Setup(NamedTuple):
    """What a sampler is given."""

    energy: Energy
    key: Array
    warmup: int
    block: int
    quick: bool

    def potential(self, position: Array) -> Array:
        """-log density, in nats."""
        return self.energy.prior_energy(position) + self.energy.data_energy(position)

    def log_density(self, position: Array) -> Array:
        """Log density, in nats."""
        return -self.potential(position)

    def optima(self) -> Array:
        """An optimum a chain, as `temperax.sample` finds them: Adam, stopped early on held-out training rows."""
        found = tx.optimise.minimise(jax.random.fold_in(self.key, 0), self.energy, CHAINS, holdout=0.1)
        return jnp.asarray(found.position)


class Chunk(NamedTuple):
    """New draws of all chains."""

    positions: np.ndarray  # (chain, draw, parameter)
    gradients: int
    not_counted: float = 0.0  # seconds that a user who asked for all draws at once would not have spent


Run = Iterator[Chunk | None]

# -- temperax --------------------------------------------------------------------------------------------------------


class Whole(NamedTuple):
    """A run from its start to its end, and when each of its draws was there."""

    f: np.ndarray  # (chain, draw, row, value)
    log_density: np.ndarray  # (chain, draw, row)
    data_energy: np.ndarray  # (chain, draw)
    warmup_gradients: int  # before the first draw, of all chains and replicas
    gradients: np.ndarray  # (draw,), likewise
    warmup: float  # seconds before the first draw, compilation and all
    seconds: np.ndarray  # (draw,) since the first

    @classmethod
    def of(cls, tree: xr.DataTree) -> "Whole":
        """What a result of temperax says.  Draws of one compiled call cost what their leapfrog steps cost."""
        laps = json.loads(tree.attrs["timings"])
        target: dict[str, Any] = {"temperature": 1.0, "method": "nearest"}
        predictive = tree["tempered_predictions"].to_dataset().sel(**target).transpose("chain", "draw", ...)
        stats = tree["tempered_stats"].to_dataset()
        gradients = stats["n_steps"].sum([d for d in stats["n_steps"].dims if d != "draw"]).values.astype(np.int64)
        draws = laps.pop("draws")
        return cls(
            predictive["f"].values,
            predictive["log_density"].values,
            stats["data_energy"].sel(**target).transpose("chain", "draw").values,
            int(tree.attrs["warmup_gradients"]),
            gradients,
            sum(laps.values()),
            draws * np.cumsum(gradients) / gradients.sum(),
        )


def temperax_sample(kernel: tx.kernels.KernelLike, setup: Setup, draws: int) -> Whole:
    """`temperax.sample` at T = 1, with its defaults but for the kernel."""
    options: dict[str, Any] = {"num_chains": CHAINS, "progress": False} | (
        {"num_warmup": setup.warmup} if setup.quick else {}
    )
    return Whole.of(tx.sample(setup.key, setup.energy, kernel=kernel, num_draws=draws, **options))


def temperax_tempering(setup: Setup, draws: int) -> Whole:
    """`temperax.parallel_tempering` with its defaults, but for the cap of its trajectories."""
    options: dict[str, Any] = {"kernel": tx.HMC(max_steps=256), "num_chains": CHAINS, "progress": False}
    return Whole.of(tx.parallel_tempering(setup.key, setup.energy, num_draws=draws, **options))


# -- NumPyro ---------------------------------------------------------------------------------------------------------


class Compilation:
    """Seconds that JAX has spent on compiling."""

    def __init__(self) -> None:
        self.seconds = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._add)

    def _add(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            self.seconds += duration_secs


def numpyro_nuts(start: str, setup: Setup) -> Run:
    """NumPyro's NUTS, a chain a device if there are as many; ``start`` is "uniform", NumPyro's own, or "optimum"."""
    from numpyro.infer import MCMC, NUTS

    shape = (CHAINS, setup.energy.size)
    uniform = jax.random.uniform(setup.key, shape, minval=-2.0, maxval=2.0)
    mcmc = MCMC(
        NUTS(potential_fn=setup.potential),
        num_warmup=setup.warmup,
        num_samples=setup.block,
        num_chains=CHAINS,
        chain_method="parallel" if jax.local_device_count() >= CHAINS else "vectorized",
        progress_bar=False,
    )
    fields = ("num_steps",)
    mcmc.warmup(setup.key, init_params=uniform if start == "uniform" else setup.optima(), extra_fields=fields)
    jax.block_until_ready(mcmc.last_state.z)
    yield None
    compilation = Compilation()
    while True:
        before = compilation.seconds
        mcmc.post_warmup_state = mcmc.last_state
        mcmc.run(mcmc.last_state.rng_key, extra_fields=fields)
        positions = np.asarray(mcmc.get_samples(group_by_chain=True))
        gradients = int(mcmc.get_extra_fields(group_by_chain=True)["num_steps"].sum())
        # It compiles again for every run, and has compiled the same for its warm-up.
        yield Chunk(positions, gradients, compilation.seconds - before)


# -- BlackJAX --------------------------------------------------------------------------------------------------------


def on_devices(function: Callable, *batch: object) -> object:
    """``function(*item)`` of every chain, on a device of its own if there are as many, and else all at once."""
    if jax.local_device_count() < CHAINS:
        return jax.vmap(function)(*batch)

    def local(*batch: object) -> object:
        return jax.lax.map(lambda item: function(*item), batch)

    mesh, split = Mesh(np.array(jax.local_devices()[:CHAINS]), ("chain",)), PartitionSpec("chain")
    return jax.shard_map(local, mesh=mesh, in_specs=split, out_specs=split, check_vma=False)(*batch)


def in_blocks(setup: Setup, one_draw: Callable, states: object, parameters: object) -> Run:
    """Blocks of ``one_draw(key, state, parameters) -> state, gradients``, in one compiled call each."""

    def chain(key: Array, state: Any, parameters: Any) -> tuple:
        def draw(state: Any, key: Array) -> tuple:
            state, gradients = one_draw(key, state, parameters)
            return state, (state.position, gradients)

        return jax.lax.scan(draw, state, jax.random.split(key, setup.block))

    advance = jax.jit(partial(on_devices, chain))
    key = jax.random.fold_in(setup.key, 2)
    while True:
        key, now = jax.random.split(key)
        states, (positions, gradients) = advance(jax.random.split(now, CHAINS), states, parameters)
        yield Chunk(np.asarray(positions), int(gradients.sum()))


def blackjax_nuts(setup: Setup) -> Run:
    """BlackJAX's NUTS with its window adaptation, from optima, every chain on a device of its own."""
    import blackjax

    # Infos that hold every trajectory would fill the memory.
    adaptation = blackjax.window_adaptation(
        blackjax.nuts, setup.log_density, adaptation_info_fn=lambda state, info, adaptation: None
    )

    def warm_up(key: Array, position: Array) -> tuple:
        return tuple(adaptation.run(key, position, num_steps=setup.warmup)[0])

    def one_draw(key: Array, state: object, parameters: dict) -> tuple:
        state, info = blackjax.nuts(setup.log_density, **parameters).step(key, state)
        return state, info.num_integration_steps

    keys = jax.random.split(jax.random.fold_in(setup.key, 1), CHAINS)
    states, parameters = jax.block_until_ready(jax.jit(partial(on_devices, warm_up))(keys, setup.optima()))
    yield None
    yield from in_blocks(setup, one_draw, states, parameters)


def blackjax_chees(setup: Setup) -> Run:
    """BlackJAX's dynamic HMC with ChEES adaptation and the diagonal metric, from optima."""
    import blackjax
    import optax

    adaptation = blackjax.chees_adaptation(
        setup.log_density,
        CHAINS,
        adaptation_info_fn=lambda state, info, adaptation: None,
        mass_matrix_estimation="diagonal",
    )
    # The sequence behind its trajectory lengths repeats after so many draws.
    room = {"max_sampling_steps": 2**20}
    key, learning = jax.random.fold_in(setup.key, 1), optax.adam(0.1)
    (states, parameters), _ = adaptation.run(key, setup.optima(), 0.01, learning, setup.warmup, **room)
    jax.block_until_ready(states)
    yield None
    fixed = {name: parameters.pop(name) for name in ("next_random_arg_fn", "integration_steps_fn")}

    def one_draw(key: Array, state: object, parameters: dict) -> tuple:
        state, info = blackjax.dynamic_hmc(setup.log_density, **parameters, **fixed).step(key, state)
        return state, info.num_integration_steps

    repeated = jax.tree.map(lambda x: jnp.broadcast_to(x, (CHAINS, *jnp.shape(x))), parameters)
    yield from in_blocks(setup, one_draw, states, repeated)


def blackjax_mclmc(setup: Setup) -> Run:
    """BlackJAX's unadjusted MCLMC, tuned by its own rules, from optima; a draw is one length of decoherence."""
    import blackjax

    kernel = blackjax.mcmc.mclmc.build_kernel()
    planned = 200 * setup.warmup  # of which tuning takes a third

    def tune(key: Array, position: Array) -> tuple:
        init_key, tune_key = jax.random.split(key)
        state = blackjax.mcmc.mclmc.init(position, setup.log_density, init_key)
        state, parameters, _ = blackjax.mclmc_find_L_and_step_size(
            kernel, planned, state, tune_key, logdensity_fn=setup.log_density
        )
        return state, parameters

    keys = jax.random.split(jax.random.fold_in(setup.key, 1), CHAINS)
    states, parameters = jax.block_until_ready(jax.jit(partial(on_devices, tune))(keys, setup.optima()))
    yield None
    thin = int(np.clip(np.nan_to_num(np.median(np.asarray(parameters.L / parameters.step_size))), 1, 1000))

    def one_draw(key: Array, state: Any, parameters: Any) -> tuple:
        def step(i: Array, state: Any) -> Any:
            key_now = jax.random.fold_in(key, i)
            mass, length, size = parameters.inverse_mass_matrix, parameters.L, parameters.step_size
            return kernel(key_now, state, setup.log_density, mass, length, size)[0]

        # McLachlan's integrator asks for two gradients a step.
        return jax.lax.fori_loop(0, thin, step, state), jnp.int32(2 * thin)

    yield from in_blocks(setup, one_draw, states, parameters)


class Sampler(NamedTuple):
    """A contestant: a peer has a ``run``, temperax a ``whole`` run of so many draws."""

    run: Callable[[Setup], Run] | None = None
    whole: Callable[[Setup, int], Whole] | None = None
    devices: int = CHAINS  # that JAX sees the processor as; 0: as many as it has cores
    exact: bool = True  # leaves the posterior invariant


SAMPLERS = {
    "temperax-hmc": Sampler(whole=partial(temperax_sample, tx.HMC()), devices=0),
    "temperax-hmc-long": Sampler(whole=partial(temperax_sample, tx.HMC(max_steps=16384)), devices=0),
    "temperax-nuts": Sampler(whole=partial(temperax_sample, tx.NUTS()), devices=0),
    "temperax-mams": Sampler(whole=partial(temperax_sample, tx.MAMS()), devices=0),
    "temperax-mclmc": Sampler(whole=partial(temperax_sample, tx.MCLMC()), devices=0, exact=False),
    "temperax-tempering": Sampler(whole=temperax_tempering, devices=0),
    "numpyro-nuts": Sampler(partial(numpyro_nuts, "uniform")),
    "numpyro-nuts-optimum": Sampler(partial(numpyro_nuts, "optimum")),
    "blackjax-nuts": Sampler(blackjax_nuts),
    "blackjax-chees": Sampler(blackjax_chees),
    "blackjax-mclmc": Sampler(blackjax_mclmc, exact=False),
}
