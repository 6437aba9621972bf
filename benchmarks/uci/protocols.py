"""What a cell of the tables is about: a published data set and one of its splits, by a published protocol."""

import numpy as np

import temperax as tx


def gal(name: str, split: int) -> tx.Dataset:
    """90/10 splits of Hernández-Lobato & Adams 2015 and Gal & Ghahramani 2016; scores are in original units."""
    return tx.datasets.load(name, split)


def bde(name: str, split: int) -> tx.Dataset:
    """80/20, in units of the training rows' standard deviation, in which scores stay; split 0 is of seed 1."""
    x, y = tx.datasets.arrays(name)
    order = np.random.RandomState(1 + split).permutation(len(x))  # noqa: NPY002 - the protocol's generator
    train, test = np.split(order, [int(0.8 * len(x))])
    x = (x - x[train].mean(axis=0)) / np.maximum(x[train].std(axis=0), 1e-12)
    y = (y - y[train].mean(axis=0)) / y[train].std(axis=0)
    return tx.Dataset.from_arrays(x[train], y[train], x[test], y[test], name=name)


PROTOCOLS = {"gal": gal, "bde": bde}
