"""What was written before the house had floors is still read: runs on disk, and pickles of results and settings."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

import temperax as tx

BEFORE = Path(__file__).parent / "reference" / "before_floors"


@pytest.fixture(scope="module")
def pickled():
    """Made by ``pickle.dump`` at the commit before."""
    return pickle.loads((BEFORE / "before.pickle").read_bytes())


def test_a_run_opens(tmp_path):
    """Two ladders of four rungs and 32 draws on a network of 24 rows."""
    zipfile.ZipFile(BEFORE / "run.zip").extractall(tmp_path / "run")
    tree = tx.open_run(tmp_path / "run")
    assert tree["posterior"].sizes["draw"] == 32
    assert tree["exchange"]["swap_acceptance"].shape == (2, 32, 3)
    assert np.isfinite(tx.predict.scores(tree)["lppd"]).all()
    assert np.isfinite(tx.thermodynamics.log_evidence(tree).mbar)


def test_pickles_are_read(pickled):
    assert isinstance(pickled["barrier"], tx.ladder.Barrier) and pickled["barrier"].total == 0.5
    assert isinstance(pickled["optima"], tx.optimise.Optima)
    assert pickled["kernel"] == tx.HMC(max_steps=64)
    assert isinstance(pickled["dataset"], tx.Dataset)
    assert pickled["tree"]["posterior"].sizes["draw"] == 8


def test_a_pickled_energy_computes_what_it_did(pickled):
    best, energy = pickled["optima"], pickled["energy"]
    assert float(energy.data_energy(best.position[0])) == pytest.approx(best.data_energy[0], rel=1e-5)


def test_rooms_are_known_without_their_floor():
    from temperax.energy import Energy

    from temperax.likelihoods import Gaussian

    assert Energy is tx.Energy and Gaussian is tx.likelihoods.Gaussian
