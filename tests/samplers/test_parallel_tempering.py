"""Replica exchange against closed forms: acceptances, barriers, log Z, round trips, marginals, and broken controls."""

import re
from dataclasses import dataclass

import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from broken import UntemperedGradient
from cases import some
from jax.scipy.special import logsumexp
from jax.tree_util import register_dataclass
from regression import largest_z, make_energy
from scipy import stats
from scipy.special import gammaln

import temperax as tx
from temperax.engine import engine, exchange, kernels, ladder, scanning
from temperax.samplers import tuner

QUICK = {"num_chains": 4, "progress": False, "start": "prior"}


def scaled_precision(d):
    """N(0, I/(1 + 9β)) on the likelihood path; one function for all d, so that its programs are shared."""
    return tx.Energy(scaled_energy, dist.Normal(0.0, 1.0).expand([d]).to_event(1))


def scaled_energy(x):
    return 4.5 * jnp.sum(x**2)


@register_dataclass
@dataclass(frozen=True)
class Exact(tx.Explorer):
    """A user's own kernel: independent draws of N(0, I/(1 + 9β))."""

    def move(self, key, position, beta, potential):
        return jax.random.normal(key, position.shape) / jnp.sqrt(1 + 9 * beta)


def mean_and_error(values):
    """Mean over chains and draws, and its standard error from the ESS."""
    values = np.asarray(values, float)
    return values.mean((0, 1)), arviz_stats.base.array_stats.mcse(values, chain_axis=0, draw_axis=1)


def assert_close(values, expected, sigmas=4.0):
    mean, error = mean_and_error(values)
    assert np.all(np.abs(mean - np.asarray(expected)) < sigmas * error + 1e-6), (mean, expected, error)


def assert_log_z(tree, expected):
    found = tx.thermodynamics.stepping_stone(tree)
    assert abs(found.forward - expected) < 4 * found.forward_error
    assert abs(found.backward - expected) < 4 * found.backward_error
    assert found.forward_error < 0.5, "sharp enough to fail"


@pytest.mark.parametrize("case", some([1], [0, 2, 3, 4]))
def test_scaled_precision_by_exact_draws(key, exact_cases, case):
    case = exact_cases["scaled_precision"][case]
    tree = tx.parallel_tempering(
        key,
        scaled_precision(case["dimension"]),
        kernel=Exact(),
        ladder=case["equal_acceptance_betas"],
        num_draws=4000,
        batch_size=0,
        **(QUICK | {"num_chains": 8}),
    )
    acceptance = tree["exchange"]["swap_acceptance"].values
    assert_close(acceptance, case["acceptance_per_pair"])
    assert_log_z(tree, case["log_z1_over_z0"])
    trips = tree["exchange"]["round_trips"].values
    rate = (trips[:, -1] - trips[:, 999]).mean() / 3000  # after every replica has been at an end
    assert 0.9 < rate / case["round_trip_rate_deo"] < 1.1


@pytest.mark.parametrize("case", some([2], [0, 1, 3, 4]))
def test_adaptation_finds_the_equal_acceptance_ladder(key, exact_cases, case):
    case = exact_cases["scaled_precision"][case]
    tree = tx.parallel_tempering(
        key,
        scaled_precision(case["dimension"]),
        kernel=Exact(),
        num_replicas=case["replicas"],
        num_draws=4096,
        batch_size=0,
        **(QUICK | {"num_chains": 16}),
    )
    betas = tree["tempered_stats"]["beta"].values
    barrier = case["global_barrier"] * np.log(1 + 9 * betas) / np.log(10)  # exact cumulative barrier
    steps = np.linspace(0, case["global_barrier"], case["replicas"])
    assert np.max(np.abs(barrier - steps)) < 0.01 * max(1.0, case["global_barrier"])
    # Λ is the limit of many rungs; the finite ladder's own sum of rejections is known too.
    rejection = 1 - tree["exchange"]["swap_acceptance"].values.mean((0, 1))
    assert rejection.sum() == pytest.approx(case["sum_of_rejections"], rel=0.02)
    assert np.max(np.abs(rejection - rejection.mean())) < 0.02


@pytest.mark.slow
def test_scaled_precision_by_hmc(key, exact_cases):
    case = exact_cases["scaled_precision"][2]
    tree = tx.parallel_tempering(
        key,
        scaled_precision(10),
        ladder=case["equal_acceptance_betas"],
        num_draws=2000,
        transitions=4,
        keep="all",
        **QUICK,
    )
    assert_close(tree["exchange"]["swap_acceptance"].values, case["acceptance_per_pair"])
    assert_log_z(tree, case["log_z1_over_z0"])
    assert tree["exchange"]["round_trips"].values[:, -1].mean() / 2000 > 0.7 * case["round_trip_rate_deo"]
    # At every temperature the marginal is right, not only at the coldest.
    for i, beta in enumerate(case["equal_acceptance_betas"]):
        draws = tree["tempered_posterior"]["theta"].isel(temperature=i).values
        assert_close(draws, np.zeros(10), sigmas=4.5)
        assert_close(draws**2, np.full(10, 1 / (1 + 9 * beta)), sigmas=4.5)
        first = draws[..., 0]
        ess = float(arviz_stats.base.array_stats.ess(first, chain_axis=0, draw_axis=1))
        thinned = first.ravel()[:: max(1, round(first.size / ess))]
        assert stats.kstest(thinned * np.sqrt(1 + 9 * beta), "norm").pvalue > 1e-3


@pytest.mark.parametrize("case", some([1], [0]))
@pytest.mark.slow
def test_mean_shift(key, exact_cases, case):
    case = exact_cases["mean_shift"][case]
    shift = case["norm_mu"]
    energy = tx.Energy(lambda x, mu: 0.5 * mu**2 - mu * x, dist.Normal(0.0, 1.0), data=jnp.float32(shift))
    tree = tx.parallel_tempering(key, energy, ladder=case["betas"], num_draws=2000, transitions=2, **QUICK)
    assert_close(tree["exchange"]["swap_acceptance"].values, case["acceptance_per_pair"])
    assert_log_z(tree, 0.0)


def binomial_energy(p, data):
    n, y, log_choose = data
    both = jnp.log(p[0]) + jnp.log(p[1])
    return -(log_choose + y * both + (n - y) * jnp.log1p(-jnp.exp(both)))


@pytest.mark.parametrize("case", some([0], [1, 2]))
@pytest.mark.slow
def test_unidentifiable_binomial(key, exact_cases, case):
    """Up to n = 100 000, where the posterior is a ridge a thousandth wide."""
    case = exact_cases["unidentifiable_binomial"][case]
    prior = dist.Uniform(0.0, 1.0).expand([2]).to_event(1)
    n, y = case["n"], case["y"]
    log_choose = gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)  # in float64: the terms are 10⁶
    energy = tx.Energy(binomial_energy, prior, data=jnp.array([n, y, log_choose], float))
    rungs = [0.0, *np.geomspace(0.1 / n, 0.05, max(4, int(2 * np.log10(n)))), 0.1, 0.2, 0.35, 0.5, 0.7, 1.0]
    tree = tx.parallel_tempering(key, energy, ladder=rungs, num_draws=2000, transitions=2, **QUICK)
    v = tree["tempered_stats"]["path_energy"].values
    for beta, log_z in case["log_z"].items():
        upto = rungs.index(float(beta)) + 1
        found = tx.thermodynamics.stepping_stone((np.array(rungs[:upto]), v[..., :upto]))
        rounding = 5e-7 * n  # of float32 energies
        assert abs(found.forward - log_z) < 4 * found.forward_error + rounding
        assert abs(found.backward - log_z) < 4 * found.backward_error + rounding


@pytest.mark.slow
def test_linear_regression_at_every_temperature(key, exact_cases):
    case = exact_cases["linear_regression"]
    betas = [float(b) for b in case["temperatures"]]  # on to β = 3, past T = 1
    tree = tx.parallel_tempering(
        key, make_energy(case), ladder=betas, num_draws=2000, keep="all", **(QUICK | {"start": "optimum"})
    )
    assert largest_z(tree, case, "likelihood") < 5
    assert float(tree["posterior"]["theta"].std()) > 0


@pytest.mark.parametrize("path", some([], ["likelihood", "reference"]))
def test_auto_finds_evidence(key, exact_cases, path, capsys, monkeypatch):
    case = exact_cases["linear_regression"]
    tree = tx.parallel_tempering(key, make_energy(case), path=path, num_rounds=10, **(QUICK | {"start": "optimum"}))
    assert_log_z(tree, case["temperatures"]["1.0"]["log_z"])
    posterior = tree["posterior"]["theta"].values
    assert_close(posterior, case["temperatures"]["1.0"]["posterior_mean"], sigmas=5)
    assert '"scans": 16' in tree.attrs["rounds"]
    tx.diagnostics.report(tree)
    assert "auto chose" in (printed := capsys.readouterr().out) and "capped" not in printed
    # A ladder that may not grow says what that costs.
    count = tree["exchange"].sizes["temperature"]
    monkeypatch.setattr("temperax.analysis.diagnostics.sentences.MOST_REPLICAS", count)
    tree["exchange"]["swap_acceptance"] *= 0.1
    tx.diagnostics.report(tree)
    now, best, more = re.search(
        r"take (\d+) scans at best, (\d+) with (\d+) replicas", capsys.readouterr().out
    ).groups()
    assert int(now) > int(best) and int(more) > count


@pytest.mark.slow
def test_posterior_path_past_one(key, exact_cases):
    """From T = 20 to T = 0.2 on the posterior path, with a rung kept at T = 1 wherever the ladder moves."""
    case = exact_cases["linear_regression"]
    tree = tx.parallel_tempering(
        key,
        make_energy(case),
        path="posterior",
        hottest=20.0,
        coldest=0.2,
        num_replicas=8,
        num_draws=1000,
        keep="all",
        **(QUICK | {"start": "optimum"}),
    )
    betas = tree["tempered_stats"]["beta"].values
    assert np.isclose(betas, 1.0).any() and betas[0] == pytest.approx(0.05) and betas[-1] == pytest.approx(5.0)
    assert largest_z(tree, case, "posterior") < 5


def test_slow_replicas_make_more_transitions():
    """As many as take the lag-one correlation to 0.7: none for those that forget, at most four, at least the user's."""
    lag = np.array([-0.1, 0.0, 0.6, 0.7**0.5, 0.7**0.25, 0.999])
    np.testing.assert_array_equal(tuner.transitions_needed(np.ones(6), lag, 1, 4), [1, 1, 1, 2, 4, 4])
    np.testing.assert_array_equal(tuner.transitions_needed(4 * np.ones(6), lag, 1, 4), [1, 1, 3, 4, 4, 4])
    np.testing.assert_array_equal(tuner.transitions_needed(np.ones(6), lag, 6, 6), 6 * np.ones(6))


# -- the index process alone -----------------------------------------------------------------------------------------


def journeys(num_replicas, num_scans, acceptance, scheme="deterministic", seed=0, ladders=64):
    """Round trips and restarts when every attempted swap is accepted with the same probability."""

    def one(key):
        def scan(state, t):
            trips, key = state
            key, now = jax.random.split(key)
            swaps = exchange.swap(scheme, now, t, jnp.arange(num_replicas, dtype=float), energies)
            return (exchange.travel(trips, swaps.order), key), None

        (trips, _), _ = jax.lax.scan(scan, (exchange.depart(num_replicas), key), jnp.arange(num_scans))
        return trips.round_trips, trips.restarts

    # Exponents log(acceptance) for every pair: swaps change nothing, as in the pure index process.
    energies = jnp.log(acceptance) * jnp.arange(num_replicas, dtype=float)
    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(seed), ladders))


@pytest.mark.parametrize("case", some([1], [0, 2]))
@pytest.mark.parametrize("scheme", ["deterministic", "stochastic"])
def test_index_process_rates(exact_cases, case, scheme):
    case = exact_cases["index_process"][case]
    trips, _ = journeys(case["replicas"], 20_000, case["acceptance"], scheme)
    expected = case["deo" if scheme == "deterministic" else "seo"]
    assert float(trips.mean()) / 20_000 == pytest.approx(expected, rel=0.05)


def test_counting_anew_keeps_where_replicas_come_from():
    """Counts start at zero, and a replica that has been hot still completes its trip on arriving at the cold end."""
    before = exchange.depart(3)
    up = jnp.array([1, 0, 2]), jnp.array([0, 2, 1])  # the hot replica goes up two rungs
    after = exchange.count_anew(jax.jit(exchange.travel)(before, up[0]))
    np.testing.assert_array_equal(after.replica, [1, 0, 2])
    assert int(after.round_trips) == 0
    assert int(exchange.travel(after, up[1]).restarts) == 1
    assert int(jax.jit(exchange.travel)(exchange.depart(3), up[1]).restarts) == 0


@pytest.mark.parametrize("case", some([1], [0, 2]))
def test_round_trips_when_every_swap_is_accepted(exact_cases, case):
    """13, 45 and 489: replicas touch the hot end every second scan."""
    case = exact_cases["all_swaps_accepted"][case]
    trips, _ = journeys(case["replicas"], case["scans"], 1.0, ladders=1)
    assert int(trips[0]) == case["round_trips"]


def test_swaps_permute_replicas(key):
    for scan in range(6):
        swaps = exchange.swap("deterministic", key, jnp.int32(scan), jnp.arange(5.0), jnp.zeros(5))
        assert sorted(np.asarray(swaps.order).tolist()) == list(range(5))
        moved = np.flatnonzero(np.asarray(swaps.order) != np.arange(5))
        assert set(moved) == {
            i for i in range(5) if i - (i - scan) % 2 in range(5) and i + 1 - 2 * ((i - scan) % 2) in range(5)
        }


def test_infinite_energies_are_never_swapped_towards_the_cold():
    betas, v = jnp.array([0.0, 0.5, 1.0]), jnp.array([jnp.inf, 1.0, jnp.inf])
    probability = exchange.swap_probability(betas, v)
    assert float(probability[0]) == 0.0 and float(probability[1]) == 1.0
    assert float(exchange.swap_probability(betas, jnp.full(3, jnp.inf))[0]) == 0.0


# -- two modes -------------------------------------------------------------------------------------------------------


def bimodal(d):
    """0.3 N(-μ, s²I) + 0.7 N(+μ, s²I) at β = 1, by way of a wide normal prior."""
    prior = dist.Normal(0.0, 2.0).expand([d]).to_event(1)

    def energy(x):
        centre, scale = 2.0 if d == 2 else 1.0, 0.35
        log_modes = jnp.stack([dist.Normal(s * centre, scale).log_prob(x).sum(-1) for s in (-1.0, 1.0)])
        log_mixture = logsumexp(log_modes + jnp.log(jnp.array([0.3, 0.7])), axis=0)
        return prior.log_prob(x) - log_mixture

    return tx.Energy(energy, prior)


@pytest.mark.parametrize("d", some([2], [50]))
@pytest.mark.slow
def test_exchange_finds_the_weights_of_two_modes(key, d):
    energy = bimodal(d)
    plain = tx.sample(key, energy, num_chains=4, num_warmup=200, num_draws=500, start="prior", progress=False)
    side = plain["posterior"]["theta"].values.mean(-1) > 0
    assert all(len(np.unique(chain)) == 1 for chain in side), (
        "plain HMC must stay in its mode for the test to mean much"
    )
    tree = tx.parallel_tempering(key, energy, num_draws=4000, transitions=2, **QUICK)
    right = (tree["posterior"]["theta"].values.mean(-1) > 0).astype(float)
    mean, error = mean_and_error(right)
    assert abs(mean - 0.7) < 3 * error
    assert error < 0.05, "sharp enough to fail"


# -- negative controls -----------------------------------------------------------------------------------------------


def wrong_sign(betas, path_energy):
    return jnp.exp(jnp.minimum(-jnp.diff(betas) * jnp.diff(path_energy), 0.0))


def overwrite(journeys, order):
    """The upper slot gets the lower one's tenant, and the lower one keeps it."""
    return travel(journeys, jnp.minimum(order, jnp.arange(len(order))))


def stale(program, key, point, *seat):
    """The position moves; energies and gradients stay behind, for the swap and for the next trajectory."""
    after, info, before = explore(program, key, point, *seat)
    return point._replace(position=after.position), info, before


travel, explore = exchange.travel, scanning.explore_replica
BROKEN = {
    "wrong swap sign": (exchange, "swap_probability", wrong_sign),
    "in-place overwrite": (exchange, "travel", overwrite),
    "stale cache": (scanning, "explore_replica", stale),
}


# One step of half a trajectory: what a swap gets wrong stays to be seen.
SLOW = tx.HMC(step_size=0.1, trajectory_length=0.4)


def worst_moment(key, kernel=SLOW):
    """The largest deviation, in standard errors, of what must hold at every temperature of a ladder.

    Second moments; no correlation between the slots of one scan (a duplicated replica leaves every marginal as it is,
    and shows here alone); and every recorded energy is that of the recorded position.
    """
    betas, d = [0.0, 0.05, 0.15, 0.4, 1.0], 10
    energy = scaled_precision(d)
    tree = tx.parallel_tempering(key, energy, ladder=betas, num_draws=2000, kernel=kernel, keep="all", **QUICK)
    draws = tree["tempered_posterior"]["theta"].transpose("chain", "draw", "temperature", ...).values
    recorded = tree["tempered_stats"]["path_energy"].values
    if not np.allclose(4.5 * (draws**2).sum(-1), recorded, rtol=1e-3):
        return np.inf
    precision = 1 + 9 * np.array(betas)
    standard = ((draws**2).sum(-1) * precision - d) / np.sqrt(2 * d)
    worst = 0.0
    for values in (standard, standard[..., 1:] * standard[..., :-1]):
        mean, error = mean_and_error(values)
        worst = max(worst, float(np.max(np.abs(mean) / error)))
    return worst


def test_the_yardstick_of_the_controls(key):
    assert worst_moment(key) < 4.5


@pytest.mark.parametrize(
    "fault", [name if name == "wrong swap sign" else pytest.param(name, marks=pytest.mark.slow) for name in BROKEN]
)
def test_broken_exchange_fails(key, fault, monkeypatch):
    jax.clear_caches()
    monkeypatch.setattr(*BROKEN[fault])
    assert worst_moment(key) > 9
    jax.clear_caches()


@pytest.mark.slow
def test_untempered_kernel_fails(key):
    assert worst_moment(key, UntemperedGradient()) > 9


# -- bad input -------------------------------------------------------------------------------------------------------

BAD = {
    "ladder out of order": ({"ladder": [0.0, 0.5, 0.2, 1.0]}, "ladder"),
    "ladder with a repeat": ({"ladder": [0.0, 0.5, 0.5, 1.0]}, "ladder"),
    "ladder of one": ({"ladder": [1.0]}, "ladder"),
    "negative ladder": ({"ladder": [-1.0, 1.0]}, "ladder"),
    "ladder with nan": ({"ladder": [0.0, np.nan]}, "ladder"),
    "ladder of text": ({"ladder": "auto"}, "ladder"),
    "improper ladder": ({"ladder": [0.0, 1.0], "path": "posterior"}, "ladder"),
    "posterior path without an end": ({"path": "posterior", "hottest": float("inf")}, "hottest"),
    "hottest below coldest": ({"hottest": 0.5}, "hottest"),
    "coldest 0": ({"coldest": 0.0}, "coldest"),
    "path": ({"path": "annealed"}, "path"),
    "scheme": ({"scheme": "even-odd"}, "scheme"),
    "two replicas": ({"num_replicas": 2}, "num_replicas"),
    "replicas of text": ({"num_replicas": "many"}, "num_replicas"),
    "rounds and draws": ({"num_rounds": 8, "num_draws": 100}, "num_draws"),
    "too few draws": ({"num_draws": 10}, "num_draws"),
    "too few rounds": ({"num_rounds": 2}, "num_rounds"),
    "transitions": ({"transitions": 0}, "transitions"),
    "transitions of text": ({"transitions": "2", "most_transitions": 4}, "transitions"),
    "most below least": ({"transitions": 4, "most_transitions": 2}, "most_transitions"),
    "replicas beside a ladder": ({"ladder": [0.0, 0.5, 1.0], "num_replicas": 4}, "num_replicas"),
    "hottest beside a ladder": ({"ladder": [0.0, 0.5, 1.0], "hottest": 4.0}, "hottest"),
    "hottest sought beside a ladder": ({"ladder": [0.1, 0.5, 1.0], "hottest": "auto"}, "hottest"),
    "endless replicas beside a ladder": ({"ladder": [0.0, 0.5, 1.0], "num_replicas": 10**400}, "num_replicas"),
    "coldest beside a ladder": ({"ladder": [0.0, 0.5, 1.0], "coldest": 0.5}, "coldest"),
    "keep": ({"keep": "some"}, "keep"),
    "no ladders": ({"num_chains": 0}, "num_chains"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, key, monkeypatch):
    monkeypatch.setattr(engine, "run_block", lambda *_: pytest.fail("compiled before the input was checked"))
    options, argument = BAD[case]
    with pytest.raises(tx.InputError) as caught:
        tx.parallel_tempering(key, scaled_precision(2), **(QUICK | options))
    assert caught.value.argument == argument


def test_values_change_and_nothing_compiles(key):
    from test_sampling import Compilations

    options = {"num_replicas": 5, "num_draws": 64, **QUICK}
    tx.parallel_tempering(key, scaled_precision(2), **options)
    with Compilations() as compilations:
        tx.parallel_tempering(jax.random.key(5), scaled_precision(2), coldest=0.9, **options)
    assert compilations.count == 0


def test_kernel_protocol():
    assert isinstance(Exact(), kernels.Kernel)


# -- the reference path, and starts ------------------------------------------------------------------------------------


def nearly_flat(p):
    return 2.0 * jnp.sum((p - 1.0) ** 2)


def test_a_reference_path_ends_at_the_temperature_that_was_asked_for(key):
    """Of N(0, 1) and a precision of 4 at T on the reference path: between the reference and (prior × likelihood)^β."""
    energy = tx.Energy(nearly_flat, dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    tree = tx.parallel_tempering(key, energy, path="reference", coldest=2.0, num_draws=256, **QUICK)
    assert tree.attrs["path"] == "reference"
    assert tree["exchange"]["temperature"].values[-1] == pytest.approx(2.0)


@pytest.mark.parametrize("cold", [{"coldest": 0.5}, {"ladder": [0.0, 0.5, 2.0]}], ids=["coldest", "ladder"])
@pytest.mark.parametrize("sampler", [tx.parallel_tempering, tx.smc])
def test_a_reference_path_does_not_go_below_one(sampler, cold, key):
    """p^β / q^(β - 1) has no integral where p's tails are heavier than those of the Gaussian q."""
    with pytest.raises(tx.InputError, match="the reference path is improper") as caught:
        sampler(key, scaled_precision(2), path="reference", progress=False, **cold)
    assert caught.value.argument == next(iter(cold))
    assert ladder.first("reference", 3, None, 1.0, None)[-1] == 1.0


def test_a_reference_is_fitted_in_short_runs_too(key):
    energy = tx.Energy(nearly_flat, dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    tree = tx.parallel_tempering(key, energy, path="reference", num_draws=64, num_replicas=3, **QUICK)
    assert tree.attrs["path"] == "reference"


def half_of_the_prior(p):
    return 0.5 * jnp.sum(p**2) + 0.0 * jnp.sqrt(p[0])


@pytest.mark.parametrize("seed", range(3))
def test_starts_without_an_energy_are_drawn_again_wherever_exchange_has_moved_them(seed):
    """Half of the prior has none, and the first scan of a ladder hands it to the hotter rung."""
    energy = tx.Energy(half_of_the_prior, dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    options = {"num_replicas": 5, "num_draws": 32, "kernel": "nuts"} | QUICK
    tree = tx.parallel_tempering(jax.random.key(seed), energy, **options)
    assert (tree["posterior"]["theta"][..., 0] > 0).all()


def test_a_ladder_that_is_cut_at_one_goes_on(key, monkeypatch):
    """Below T = 1 it has a rung at 1 wherever that is inside it, and none is looked for where it begins there."""

    def passable(self, found, tally):
        first = int(np.flatnonzero(found.betas >= 1.0)[0])
        return ladder.barrier(found.betas[first:], found.rejection[first:])

    monkeypatch.setattr(tuner.Tuner, "_passable", passable)
    # No replica passes sixty rungs in the scans of the first round.
    options = {"num_replicas": 60, "num_draws": 32, "coldest": 0.25, **QUICK}
    tree = tx.parallel_tempering(key, scaled_precision(2), **options)
    assert tree["tempered_stats"]["beta"].values[[0, -1]].tolist() == [1.0, 4.0]


def test_what_says_the_same_as_a_ladder_may_stand_beside_it():
    rungs = np.array([0.0, 0.5, 2.0])
    assert (ladder.first("likelihood", 3, float("inf"), 0.5, rungs) == rungs).all()
    assert (ladder.first("likelihood", str(np.str_("auto")), None, 1, rungs) == rungs).all()
    assert (ladder.first("posterior", np.int64(3), np.float32(10), 1.0, [0.1, 0.5, 1.0]) == [0.1, 0.5, 1.0]).all()


def test_a_result_of_a_ladder_repeats_on_another(key):
    """What makes a ladder takes the place of one that was given, and the other way round."""
    data = tx.Dataset.from_arrays(np.linspace(-1, 1, 20)[:, None], np.linspace(-1, 1, 20))
    energy = tx.Energy.mlp(data, (1,))
    tree = tx.parallel_tempering(key, energy, ladder=[0.0, 0.5, 1.0], num_draws=32, **QUICK)
    assert tx.repeat(tree, ladder=None, num_replicas=3)["exchange"]["beta"].shape == (3,)
    again = tx.repeat(tree, coldest=0.5, num_replicas=3)
    assert again["exchange"]["beta"].values[-1] == 2.0
    assert tx.repeat(again, ladder=[0.0, 0.2, 1.0])["exchange"]["beta"].values == pytest.approx([0.0, 0.2, 1.0])


def test_a_result_repeats_with_more_transitions(key):
    """The most of them follows from what is asked for, now and when it is repeated."""
    data = tx.Dataset.from_arrays(np.linspace(-1, 1, 20)[:, None], np.linspace(-1, 1, 20))
    energy = tx.Energy.mlp(data, (1,))
    tree = tx.parallel_tempering(key, energy, num_replicas=3, num_draws=32, **QUICK)
    assert tx.repeat(tree, transitions=8)["tempered_stats"]["n_steps"].sum() > tree["tempered_stats"]["n_steps"].sum()
