"""Sequential Monte Carlo: evidence and moments in closed form, its paths, runs that go on, and broken weights."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from cases import some

import temperax as tx
from temperax.errors import Interrupted
from temperax.samplers import particles, populations

SIZE, PRECISION = 5, 4.0


def energy():
    """exp(-2 |θ - 1|²) under N(0, 1): at β = 1, N(4/5, 1/5), and log Z a sum of equal terms."""
    return tx.Energy(
        lambda p: 0.5 * PRECISION * jnp.sum((p - 1.0) ** 2), dist.Normal(0.0, 1.0).expand([SIZE]).to_event(1)
    )


EXACT = SIZE * (-0.5 * np.log(1 + PRECISION) - 0.5 * PRECISION / (1 + PRECISION))
QUICK = {"num_particles": 128, "num_chains": 4, "kernel": "hmc", "progress": False}


def worst_z(tree):
    """Deviations of log Z and of the posterior's moments, in standard errors; particles have relatives."""
    draws = tree["posterior"]["theta"].values
    families = int(tree["smc"]["families"].isel(temperature=-1).sum())
    found = [abs(tree.attrs["log_z"] - EXACT) / max(tree.attrs["log_z_error"], 0.02)]
    mean, variance = PRECISION / (1 + PRECISION), 1 / (1 + PRECISION)
    for moment, exact in ((draws, mean), ((draws - mean) ** 2, variance)):
        each = moment.reshape(-1, SIZE)
        found += list(abs(each.mean(axis=0) - exact) / (each.std(axis=0) / np.sqrt(min(families, len(each)))))
    return max(found)


@pytest.mark.parametrize(
    "options",
    some([{}, {"path": "reference"}], [{"resample_below": 1}, {"ladder": np.linspace(0, 1, 12)}, {"kernel": "mams"}]),
    ids=["by default", "from a reference", "population annealing", "a ladder of one's own", "microcanonical"],
)
def test_evidence_and_moments(options, key):
    tree = tx.smc(key, energy(), **(QUICK | options))
    assert worst_z(tree) < 4.5
    assert tree["smc"].sizes["temperature"] == tree["tempered_stats"].sizes["temperature"]
    assert (np.diff(tree["tempered_stats"]["beta"]) > 0).all() and tree["tempered_stats"]["beta"][-1] == 1.0


def test_from_a_finite_temperature_on_the_posterior_path(key):
    """Log Z(1) - log Z(1/8), which on this path is a Gaussian's."""
    tree = tx.smc(key, energy(), path="posterior", hottest=8.0, **QUICK)
    height = SIZE * (0.5 * np.log(2 * np.pi) + 0.5 * PRECISION / (1 + PRECISION))  # where U0 + E is lowest
    exact = -(7 / 8) * height - 0.5 * SIZE * np.log(8.0)
    assert abs(tree.attrs["log_z"] - exact) < 4.5 * max(tree.attrs["log_z_error"], 0.02)


def test_what_reads_ladders_reads_its_steps(key, capsys):
    """Thermodynamics of the steps agrees with the weights, and the report says from how few particles."""
    tree = tx.smc(key, energy(), **QUICK)
    row = tx.thermodynamics.summary(tree).iloc[-1]
    assert abs(row["log_z"] - EXACT) < 4.5 * row["log_z_error"]
    tx.diagnostics.report(tree)
    said = capsys.readouterr().out
    assert "log Z = " in said and "descend from" in said and "4 chains from prior positions" in said


@pytest.mark.parametrize("broken", ["weights forgotten", "weights doubled"])
def test_broken_weights_fail(key, monkeypatch, broken):
    """The negative control."""
    whole = populations.Populations.weigh

    def weigh(self, heights, beta):
        whole(self, heights * (0.0 if broken == "weights forgotten" else 2.0), beta)

    monkeypatch.setattr(populations.Populations, "weigh", weigh)
    assert worst_z(tx.smc(key, energy(), **QUICK)) > 6


def test_infinite_energies_of_the_prior_weigh_nothing(key):
    """Half of the prior has no energy: log Z is that of the other half."""
    half = tx.Energy(
        lambda p: jnp.where(p[0] > 0, 0.5 * jnp.sum(p**2), jnp.inf), dist.Normal(0, 1).expand([3]).to_event(1)
    )
    tree = tx.smc(key, half, kernel="nuts", num_particles=256, progress=False)
    exact = np.log(0.5) - 1.5 * np.log(2.0)
    assert abs(tree.attrs["log_z"] - exact) < 4.5 * max(tree.attrs["log_z_error"], 0.03)
    assert (tree["posterior"]["theta"][..., 0] > 0).all()


def test_half_of_the_draws_without_an_energy_on_the_posterior_path(key):
    """At β > 0 they have no weight at all: log Z is of what is left, and energies are finite."""

    def half(p):
        return 0.5 * jnp.sum(p**2) + 0.0 * jnp.sqrt(p[0])  # whose gradient is NaN too: nothing moves from there

    energy = tx.Energy(half, dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    tree = tx.smc(key, energy, path="posterior", hottest=4.0, kernel="nuts", num_particles=256, progress=False)
    exact = -1.5 * np.log(4.0) - 0.75 * 1.5 * np.log(2 * np.pi)
    assert abs(tree.attrs["log_z"] - exact) < 4.5 * max(tree.attrs["log_z_error"], 0.03)
    assert (tree["posterior"]["theta"][..., 0] > 0).all()
    assert np.isfinite(tree["tempered_stats"]["path_energy"]).all()


def test_the_first_step_may_be_as_small_as_the_prior_is_wide(key):
    """exp(-θ²/2 · 10⁴) under N(0, 10⁵²): β = 1 is 10¹⁴ of the first step away."""
    energy = tx.Energy(lambda p: 0.5 * ((p - 1.0) / 0.01) ** 2, dist.Normal(0.0, 1e5))
    tree = tx.smc(key, energy, **QUICK)
    assert abs(tree.attrs["log_z"] - np.log(0.01 / 1e5)) < 4.5 * max(tree.attrs["log_z_error"], 0.1)


def test_two_modes_keep_their_weights(key):
    """Two modes of weights 1/4 and 3/4, apart by walls that no kernel climbs."""

    def modes(p):
        return -jnp.logaddexp(jnp.log(0.25) - 50 * jnp.sum((p - 2) ** 2), jnp.log(0.75) - 50 * jnp.sum((p + 2) ** 2))

    two = tx.Energy(modes, dist.Normal(0.0, 2.0).expand([2]).to_event(1))
    tree = tx.smc(key, two, num_particles=256, kernel="hmc", progress=False)
    share = (tree["posterior"]["theta"][..., 0] > 0).mean("draw").values
    assert abs(share.mean() - 0.25) < 4 * max(share.std(ddof=1) / 2, 0.015)


@pytest.mark.slow
@pytest.mark.parametrize("coldest", [0.05, 1.0])
def test_a_run_that_was_stopped_goes_on(tmp_path, key, monkeypatch, coldest):
    """On the way and in its last step: bit for bit as if it had never been, and it is read from its directory."""
    options = QUICK | {"num_particles": 32, "save_every": 1e-9}
    whole = tx.smc(key, energy(), **options)
    save = particles.Run.save

    def stopping(self, program, *arguments):
        save(self, program, *arguments)
        if float(program.betas[0]) >= coldest:
            raise Interrupted(tmp_path, "smc")

    monkeypatch.setattr(particles.Run, "save", stopping)
    with pytest.raises(Interrupted):
        tx.smc(key, energy(), directory=tmp_path / "run", **options)
    monkeypatch.setattr(particles.Run, "save", save)
    again = tx.smc(key, energy(), directory=tmp_path / "run", resume=True, **options)
    for group in ("posterior", "tempered_stats", "smc"):
        assert again[group].to_dataset().load().equals(whole[group].to_dataset()), group
    read = tx.open_run(tmp_path / "run")
    assert read["smc"].to_dataset().load().equals(whole["smc"].to_dataset())
    finished = tx.smc(key, energy(), directory=tmp_path / "run", resume=True, **options)
    assert finished["posterior"].to_dataset().load().equals(whole["posterior"].to_dataset())


def test_a_result_repeats_from_what_it_carries(key, small_data):
    network = tx.Energy.mlp(small_data, (2,))
    options = {"num_particles": 16, "num_chains": 2, "ladder": np.linspace(0, 1, 4), "progress": False}
    tree = tx.smc(key, network, **options)
    assert tx.repeat(tree)["posterior"].to_dataset().equals(tree["posterior"].to_dataset())
    with pytest.raises(tx.InputError, match="num_draws' are not arguments of smc"):
        tx.repeat(tree, num_draws=8)


REFUSED = {
    "too few particles": ({"num_particles": 3}, "num_particles"),
    "a share above 1": ({"conditional_size": 1.5}, "conditional_size"),
    "no threshold": ({"resample_below": -1.0}, "resample_below"),
    "a ladder from a finite temperature": ({"ladder": [0.1, 0.5, 1.0]}, "ladder"),
    "the posterior path from infinity": ({"path": "posterior"}, "hottest"),
    "a hot end below the cold one": ({"path": "posterior", "hottest": 0.5}, "hottest"),
    "no path": ({"path": "prior"}, "path"),
    "a hot end beside a ladder": ({"ladder": [0.0, 0.5, 1.0], "hottest": 2.0}, "hottest"),
    "a cold end beside a ladder": ({"ladder": [0.0, 0.5, 1.0], "coldest": 0.5}, "coldest"),
    "a kernel whose bias nobody sees": ({"kernel": "mclmc"}, "kernel"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_arguments_are_named(name, key):
    options, argument = REFUSED[name]
    with pytest.raises(tx.InputError, match=f"^{argument} = "):
        tx.smc(key, energy(), **options)


def test_flat_priors_start_from_a_reference(key):
    flat = tx.Energy.from_log_density(lambda p: -0.5 * jnp.sum((p - 3.0) ** 2), jnp.zeros(2))
    with pytest.raises(tx.InputError, match="path='reference'"):
        tx.smc(key, flat)
    tree = tx.smc(key, flat, path="reference", **QUICK)
    assert abs(tree.attrs["log_z"] - np.log(2 * np.pi)) < 4.5 * max(tree.attrs["log_z_error"], 0.02)
    assert jax.tree.leaves(tree["posterior"]["theta"].mean(("chain", "draw")).values)[0] == pytest.approx(
        [3, 3], abs=0.3
    )
