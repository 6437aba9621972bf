"""Thermodynamics against closed forms, from energies whose law is known, and against pymbar."""

import json
import subprocess
import sys
import warnings

import arviz_stats
import jax
import numpy as np
import pytest
import xarray as xr

import temperax as tx
from temperax import ladder, thermodynamics

QUANTITIES = {"log_z": "log_z", "mean_energy": "mean_energy", "heat_capacity": "heat_capacity"}


def normal_energies(betas, draws, seed, memory=0.0):
    """U = 4.5|x|² under N(0, I/(1 + 9β)) in two dimensions, with draws that remember the one before."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(4, draws, len(betas), 2))
    x = noise.copy()
    for i in range(1, draws):
        x[:, i] = memory * x[:, i - 1] + np.sqrt(1 - memory**2) * noise[:, i]
    return 4.5 * (x**2).sum(-1) / (1 + 9 * betas)


def regression_energies(case, betas, draws, seed):
    """E of the linear regression's exact posteriors at every β."""
    rng = np.random.default_rng(seed)
    x, y = np.array(case["X"]), np.array(case["y"])
    noise, prior = case["noise_scale"], case["prior_scale"]
    out = np.empty((4, draws, len(betas)))
    for n, beta in enumerate(betas):
        covariance = np.linalg.inv(np.eye(x.shape[1]) / prior**2 + beta * x.T @ x / noise**2)
        mean = covariance @ x.T @ y * beta / noise**2
        w = rng.multivariate_normal(mean, covariance, size=(4, draws))
        residual = ((y - w @ x.T) / noise) ** 2
        out[..., n] = 0.5 * residual.sum(-1) + len(y) * np.log(noise * np.sqrt(2 * np.pi))
    return out


RUNGS = np.array([0.0, 2e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0])


def test_stepping_stones_bracket_the_exact_log_z():
    betas = ladder.linear(12)
    found = [thermodynamics.stepping_stone((betas, normal_energies(betas, 500, seed))) for seed in range(40)]
    exact = -np.log(10.0)
    for side in ("forward", "backward"):
        z = np.array([(getattr(f, side) - exact) / getattr(f, side + "_error") for f in found])
        assert abs(z.mean()) < 5 / np.sqrt(40) and 0.6 < z.std() < 1.5, "errors are calibrated"
    # A control: with the sign of U turned round the estimate is far off.
    wrong = thermodynamics.stepping_stone((betas, -normal_energies(betas, 500, 0)))
    assert abs(wrong.forward - exact) > 10 * wrong.forward_error


def test_every_quantity_of_the_linear_regression(exact_cases):
    case = exact_cases["linear_regression"]
    found = thermodynamics.curves((RUNGS, regression_energies(case, RUNGS, 400, 0)))
    for text, exact in case["temperatures"].items():
        beta = float(text)
        at = found.isel(temperature=int(np.argmin(np.abs(RUNGS - beta))))
        entropy = exact["log_z"] + beta * exact["mean_energy"]
        for name, value in {**{n: exact[n] for n in QUANTITIES}, "entropy": entropy}.items():
            error = float(at[f"{name}_error"])
            assert abs(float(at[name]) - value) <= 4 * error + 1e-9, (beta, name)
        if beta:
            assert float(at["free_energy"]) == pytest.approx(-float(at["log_z"]) / beta)
            assert 0 < float(at["log_z_error"]) < 0.1, "sharp enough to fail"
    assert (np.diff(found["entropy"]) < 0).all() and not thermodynamics.doubts(
        (RUNGS, regression_energies(case, RUNGS, 400, 0))
    )


def test_errors_of_stepping_stones_count_what_rungs_share():
    """Populations that are lost somewhere are so on every rung: errors of pairs do not average out."""
    betas, rng = np.linspace(0.0, 1.0, 41), np.random.default_rng(1)
    found = []
    for _ in range(60):
        shared = rng.normal(size=(8, 1, 1))
        energies = 10.0 + shared + 0.3 * rng.normal(size=(8, 50, 41))
        found.append(thermodynamics.stepping_stone((betas, energies)))
    for side in ("forward", "backward"):
        spread = np.std([getattr(z, side) for z in found])
        assert 0.5 < np.median([getattr(z, f"{side}_error") for z in found]) / spread < 2


def test_entropy_does_not_depend_on_the_zero_of_the_energy():
    """Also where the hot end is not β = 0, where it is 0 and is known; at β = 0 it is log Z + β⟨U⟩ as before."""
    betas = np.array([0.2, 0.5, 1.0])
    energies = normal_energies(betas, 300, 0)
    here, there = (thermodynamics.curves((betas, energies + shift)) for shift in (0.0, 1000.0))
    for name in ("entropy", "entropy_error"):
        np.testing.assert_allclose(here[name], there[name], atol=1e-8)
    assert abs(float(here["entropy"][0])) < 1e-9 and float(here["entropy_error"][0]) < 1e-9
    scale = 1 + 9 * betas  # two dimensions
    exact = -np.log(scale / scale[0]) + betas * 9 / scale - betas[0] * 9 / scale[0]
    assert (np.abs(here["entropy"] - exact)[1:] < 4 * here["entropy_error"][1:]).all()
    whole = thermodynamics.curves((betas - 0.2, normal_energies(betas - 0.2, 300, 0)))
    np.testing.assert_allclose(whole["entropy"], whole["log_z"] + whole["beta"] * whole["mean_energy"])


@pytest.mark.slow
def test_errors_cover_over_many_seeds_and_naive_ones_do_not():
    """95 % intervals hold the truth in 90-99 % of 100 runs whose draws remember; errors of independent draws do not."""
    betas = np.array([0.0, 0.1, 0.3, 0.6, 1.0])
    beta, inside, naive = 0.45, {name: 0 for name in ("log_z", "mean_energy", "heat_capacity", "entropy")}, 0
    scale = 1 + 9 * beta
    exact = {"log_z": -np.log(scale), "mean_energy": 9 / scale, "heat_capacity": (9 * beta / scale) ** 2}
    exact["entropy"] = exact["log_z"] + beta * exact["mean_energy"]
    for seed in range(100):
        energies = normal_energies(betas, 400, seed, memory=0.7)
        found = thermodynamics.ensemble((betas, energies)).at(beta)
        for name in inside:
            inside[name] += abs(found[name] - exact[name]) < 1.96 * found[f"{name}_error"]
        shuffled = np.random.default_rng(seed).permuted(energies.reshape(-1, len(betas)), axis=0)
        blind = thermodynamics.ensemble((betas, shuffled.reshape(energies.shape))).at(beta)
        naive += abs(blind["mean_energy"] - exact["mean_energy"]) < 1.96 * blind["mean_energy_error"]
    assert all(90 <= count <= 99 for count in inside.values()), inside
    assert naive < 90, naive


def test_any_beta_between_the_rungs_and_any_observable(exact_cases):
    betas = ladder.linear(6)
    energies = normal_energies(betas, 2000, 3)
    found = thermodynamics.ensemble((betas, energies))
    for beta in (0.05, 0.33, 0.5, 0.99):
        at = found.at(beta)
        assert abs(at["mean_energy"] - 9 / (1 + 9 * beta)) < 4 * at["mean_energy_error"]
        assert found.expectation(energies, beta) == pytest.approx((at["mean_energy"], at["mean_energy_error"]))
        square, error = found.expectation(energies**2, beta)
        assert abs(square - 2 * (9 / (1 + 9 * beta)) ** 2) < 4 * error
        assert found.weights(beta).sum() == pytest.approx(1.0)
    grid = thermodynamics.curves(found, np.linspace(0, 1, 201))
    slope = np.gradient(grid["log_z"].values, grid["beta"].values)
    np.testing.assert_allclose(slope[1:-1], -grid["mean_energy"].values[1:-1], rtol=0.02)


def test_four_methods_agree_and_say_so_when_they_do_not():
    betas = ladder.linear(30)
    z = thermodynamics.log_evidence((betas, normal_energies(betas, 1000, 5)))
    exact = -np.log(10.0)
    for name in ("forward", "backward", "mbar", "integration"):
        assert abs(getattr(z, name) - exact) < 4 * getattr(z, f"{name}_error"), name
    assert z.mbar_error < 1.2 * min(z.forward_error, z.backward_error)
    far = np.array([0.0, 1e4])  # scaled so that the two rungs hardly overlap
    said = thermodynamics.doubts((far, normal_energies(far, 200, 1)))
    assert any("overlap" in s for s in said)
    shifted = normal_energies(betas, 500, 2)
    shifted[0] += 20 * np.linspace(0, 1, 500)[:, None]  # a ladder that drifts away from the others
    assert any("disagree" in s for s in thermodynamics.doubts((betas, shifted)))


def test_infinite_energies_at_beta_zero_weigh_nothing():
    betas = ladder.linear(8)
    energies = normal_energies(betas, 800, 4)
    infinite = energies.copy()
    infinite[0, :3, 0] = np.inf
    found, clean = (thermodynamics.ensemble((betas, e)) for e in (infinite, energies))
    assert found.at(1.0)["log_z"] == pytest.approx(clean.at(1.0)["log_z"], abs=0.01)
    assert found.at(0.0)["mean_energy"] == np.inf
    assert np.isfinite(list(found.at(0.3).values())).all()


def test_pymbar_gives_the_same():
    """In a process of its own: pymbar switches JAX to 64 bit when it is imported."""
    betas = ladder.linear(6)
    energies = normal_energies(betas, 50, 7)
    code = (
        "import json, sys, warnings; warnings.simplefilter('ignore'); import numpy as np, logging;"
        "logging.disable(logging.CRITICAL); import pymbar;"
        "d = json.load(sys.stdin); b, u = np.array(d['b']), np.array(d['u']);"
        "flat = u.reshape(-1, len(b)).T.reshape(-1);"
        "m = pymbar.MBAR(b[:, None] * flat, np.full(len(b), flat.size // len(b)), relative_tolerance=1e-12);"
        "print(json.dumps((-m.compute_free_energy_differences()['Delta_f'][0]).tolist()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps({"b": betas.tolist(), "u": energies.tolist()}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.strip().splitlines()[-1])
    np.testing.assert_allclose(thermodynamics.curves((betas, energies))["log_z"], theirs, atol=1e-3)


@pytest.mark.slow
def test_evidence_prefers_the_model_that_made_the_data(exact_cases):
    """A regression with all inputs against one without the first, on data of either."""
    case = exact_cases["linear_regression"]
    x, right, rounds = np.array(case["X"]), 0, 40
    rng = np.random.default_rng(11)
    for i in range(rounds):
        full = i % 2 == 0
        w = rng.normal(size=x.shape[1])
        w[0] = 1.5 * full  # as large as its prior expects, so that no luck hides it
        y = x @ w + case["noise_scale"] * rng.normal(size=len(x))
        sources = {
            name: (RUNGS[:-1], regression_energies(case | {"X": inputs, "y": y}, RUNGS[:-1], 100, i))
            for name, inputs in (("full", x), ("small", x[:, 1:]))
        }
        table = thermodynamics.compare_evidence(sources)
        right += table.index[0] == ("full" if full else "small")
        assert table["probability"].sum() == pytest.approx(1.0)
    assert right >= 0.95 * rounds, right


@pytest.fixture(scope="module")
def network_ladder(small_data):
    """A small network's ladder from the prior to the posterior."""
    energy = tx.Energy.mlp(small_data, (3,))
    options = {"num_replicas": 16, "num_draws": 256, "num_chains": 2, "progress": False, "log_likelihood": True}
    return tx.parallel_tempering(jax.random.key(3), energy, **options)


@pytest.mark.slow
def test_report_reads_a_ladder_of_a_network(network_ladder, capsys):
    table = thermodynamics.report(network_ladder)
    printed = capsys.readouterr().out
    assert "log Z(T = 1) - log Z(T = inf)" in printed and len(table) == 16
    assert table.index.name == "temperature"
    curves = thermodynamics.curves(network_ladder)
    assert isinstance(curves, xr.Dataset) and (np.diff(curves["entropy"]) < 0).all()


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ((np.array([0.0, 1.0]), np.zeros((2, 10, 3))), "is not of shape"),
        ((np.array([0.0, 1.0]), np.full((2, 10, 2), np.nan)), "not finite"),
        ((np.array([1.0, 0.0]), np.zeros((2, 10, 2))), "does not ascend"),
        ("ladder", "no energies"),
        (xr.DataTree(), "no tempered draws"),
    ],
)
def test_sources_that_cannot_be_read(source, problem):
    with pytest.raises(tx.InputError, match=problem):
        thermodynamics.curves(source)


def test_betas_and_models_outside_the_ladder(exact_cases):
    betas = ladder.linear(4)
    found = thermodynamics.ensemble((betas, normal_energies(betas, 50, 0)))
    with pytest.raises(tx.InputError, match="outside the ladder"):
        found.at(1.5)
    with pytest.raises(tx.InputError, match="values"):
        found.expectation(np.zeros((4, 50)), 0.5)
    with pytest.raises(tx.InputError, match="ends of its ladder"):
        thermodynamics.compare_evidence({"cold": (betas / 2, normal_energies(betas, 50, 0))})
    with pytest.raises(tx.InputError, match="is no mapping of names to results"):
        thermodynamics.compare_evidence({})


@pytest.mark.slow
def test_evidence_of_networks_prefers_the_one_that_made_the_data(key):
    """Two hidden units against a linear network, on 20 data sets drawn from either: right 95 % of the time."""
    right, names = 0, {"linear": (), "two units": (2,)}
    rng = np.random.default_rng(5)
    for i in range(20):
        x = rng.normal(size=(60, 2))
        truth = list(names)[i % 2]
        f = (
            x @ [1.0, -0.7]
            if truth == "linear"
            else 2.0 * np.tanh(2.5 * x[:, 0] - 1.5 * x[:, 1]) + np.tanh(2 * x[:, 1])
        )
        data = tx.Dataset.from_arrays(x, f + 0.3 * rng.normal(size=60), standardise=False)
        trees = {
            name: tx.parallel_tempering(
                jax.random.fold_in(key, i),
                tx.Energy.mlp(data, hidden),
                num_replicas=14,
                num_chains=2,
                num_draws=256,
                progress=False,
            )
            for name, hidden in names.items()
        }
        right += thermodynamics.compare_evidence(trees).index[0] == truth
    assert right >= 19, right


@pytest.mark.slow
def test_evidence_stands_beside_cross_validation(network_ladder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of large Pareto k: a few rows of a small set
        table = thermodynamics.compare_evidence({"a": network_ladder, "b": network_ladder})
        loo = arviz_stats.loo(network_ladder)
    assert table["elpd_loo"].tolist() == [pytest.approx(loo.elpd)] * 2
    assert table["probability"].tolist() == [0.5, 0.5] and table["log_bayes_factor"].iloc[1] == 0


def with_group(tree, name, group):
    other = tree.copy()
    other[name] = xr.DataTree(group)
    return other


def test_evidence_is_compared_of_the_same_targets_alone(network_ladder):
    """Whatever the inputs; and without leave-one-out where a result has too few log likelihoods for it."""
    part = network_ladder["observed_data"].to_dataset().isel(row=slice(0, 30))
    with pytest.raises(tx.InputError, match=r"trees\['b'\] = .* other targets than the first"):
        thermodynamics.compare_evidence({"a": network_ladder, "b": with_group(network_ladder, "observed_data", part)})
    logs = network_ladder["log_likelihood"].to_dataset().isel(draw=slice(0, 12))
    few = with_group(network_ladder, "log_likelihood", logs)
    table = thermodynamics.compare_evidence({"a": network_ladder, "b": few})
    assert table["log_bayes_factor"].tolist() == [0.0, 0.0] and "elpd_loo" not in table


def test_the_mean_energy_is_minus_the_slope_of_log_z_along_a_networks_ladder(network_ladder):
    """From the stepping stones alone, which know nothing of the mean."""
    found = thermodynamics.ensemble(network_ladder)
    for n in range(6, 15):
        pair = (found.betas[n : n + 2], found.energies[..., n : n + 2])
        z = thermodynamics.stepping_stone(pair)
        step = float(np.diff(pair[0])[0])
        middle = found.at(float(pair[0].mean()))
        # The slope over a step is the mean energy at its middle up to the step's third derivative.
        error = (
            4 * np.hypot(z.forward_error / step, middle["mean_energy_error"]) + 0.02 * abs(middle["mean_energy"]) + 1
        )
        assert abs(-0.5 * (z.forward + z.backward) / step - middle["mean_energy"]) < error


@pytest.mark.parametrize("heavy", [True, False])
def test_a_mean_without_a_variance_is_not_shown_as_a_number(heavy, capsys):
    rng = np.random.default_rng(0)
    betas = np.array([0.0, 0.5, 1.0])
    energies = rng.gamma(2.0, 1.0, size=(2, 200, 3))
    if heavy:
        energies[..., 0] = 1e4 * rng.pareto(0.8, size=(2, 200))
    tx.thermodynamics.report((betas, energies))
    printed = capsys.readouterr().out
    assert ("no finite variance" in printed) == heavy
