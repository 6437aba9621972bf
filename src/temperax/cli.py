"""The command line: ``temperax sample DATA …``."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

if TYPE_CHECKING:
    import xarray as xr
    from jax import Array
    from matplotlib.figure import Figure

    from temperax import Dataset, Energy

app = typer.Typer(
    help="Tempered posteriors of Bayesian neural networks: HMC, NUTS and parallel tempering on JAX.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def main() -> None:
    """Tempered posteriors of Bayesian neural networks: HMC, NUTS and parallel tempering on JAX."""


Data = Annotated[
    str, typer.Argument(metavar="DATA", help="Name of a data set (diabetes, yacht, …) or path of a CSV file.")
]
Target = Annotated[list[str] | None, typer.Option(help="Target column of a CSV file; repeat for several.")]
Task = Annotated[str, typer.Option(help="Kind of target of a CSV file: regression, classification or counts.")]
Split = Annotated[int, typer.Option(help="Which train/test split.", min=0)]
Hidden = Annotated[list[int] | None, typer.Option(help="Width of a hidden layer; repeat for more. [default: 50]")]
Activation = Annotated[str, typer.Option(help="Activation of the hidden layers.")]
PriorScale = Annotated[float, typer.Option(help="Standard deviation of the N(0, s²) prior on every weight.")]
Temperature = Annotated[list[float] | None, typer.Option(help="Temperature T; repeat for several. [default: 1]")]
PathName = Annotated[
    str | None, typer.Option("--path", help="What T tempers: likelihood or posterior; needed unless T = 1.")
]
KernelName = Annotated[str, typer.Option("--kernel", help="hmc or nuts.")]
Chains = Annotated[int, typer.Option(help="Independent chains at every temperature.")]
Warmup = Annotated[int, typer.Option(help="Scans of adaptation.")]
Draws = Annotated[int, typer.Option(help="Draws kept of every chain.")]
Seed = Annotated[int, typer.Option(help="Seed of all randomness.", min=0, max=2**32 - 1)]
Devices = Annotated[
    int | None, typer.Option(help="Processor devices to spread replicas over. [default: all cores]", min=1, max=1024)
]
Out = Annotated[Path, typer.Option(help="Folder for the result and the picture.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a result that is there.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


Replicas = Annotated[str, typer.Option(help="Rungs of the ladder, or auto.")]
Transitions = Annotated[int, typer.Option(help="Least number of the kernel's transitions between exchanges.")]
Hottest = Annotated[
    float | None, typer.Option(help="Hottest temperature; needed on the posterior path. [default: inf]")
]
Coldest = Annotated[float, typer.Option(help="Coldest temperature.")]
Ladders = Annotated[int, typer.Option("--chains", help="Independent ladders.")]


@app.command()
def sample(
    data: Data,
    target: Target = None,
    task: Task = "regression",
    split: Split = 0,
    hidden: Hidden = None,
    activation: Activation = "tanh",
    prior_scale: PriorScale = 1.0,
    temperature: Temperature = None,
    path: PathName = None,
    kernel: KernelName = "hmc",
    chains: Chains = 4,
    warmup: Warmup = 1000,
    draws: Draws = 1000,
    seed: Seed = 0,
    devices: Devices = None,
    out: Out = Path("run"),
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Sample a network's posterior at one or more temperatures; print diagnostics and scores, save draws and a picture.

    Example: temperax sample diabetes --temperature 1 --temperature 0.3 --path posterior --out run
    """
    import temperax as tx

    with _errors_in_one_sentence(tx.InputError):
        folder = _prepare(out, overwrite, devices)
        energy, key = _energy(data, target, task, split, hidden, activation, prior_scale, seed)
        tree = tx.sample(
            key,
            energy,
            temperature or [1.0],
            path=path,
            kernel=kernel,
            num_chains=chains,
            num_warmup=warmup,
            num_draws=draws,
            progress=not quiet,
        )
        baselines = _finish(tree, energy, key, folder)
        _save_picture(tx.plots.summary(tree, baselines), folder / "summary.png")


@app.command()
def temper(
    data: Data,
    target: Target = None,
    task: Task = "regression",
    split: Split = 0,
    hidden: Hidden = None,
    activation: Activation = "tanh",
    prior_scale: PriorScale = 1.0,
    path: Annotated[str, typer.Option(help="likelihood (from the prior), posterior or reference.")] = "likelihood",
    kernel: KernelName = "hmc",
    replicas: Replicas = "auto",
    chains: Ladders = 4,
    draws: Draws = 1024,
    transitions: Transitions = 1,
    hottest: Hottest = None,
    coldest: Coldest = 1.0,
    seed: Seed = 0,
    devices: Devices = None,
    out: Out = Path("run"),
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Sample by replica exchange along a temperature ladder; print diagnostics and scores, save draws and pictures.

    Example: temperax temper diabetes --hidden 10 --draws 512 --out run
    """
    import temperax as tx

    with _errors_in_one_sentence(tx.InputError):
        folder = _prepare(out, overwrite, devices)
        energy, key = _energy(data, target, task, split, hidden, activation, prior_scale, seed)
        tree = tx.parallel_tempering(
            key,
            energy,
            path=path,
            kernel=kernel,
            num_replicas=int(replicas) if replicas.isdecimal() and len(replicas) < 10 else replicas,
            num_chains=chains,
            num_draws=draws,
            transitions=transitions,
            hottest=hottest,
            coldest=coldest,
            keep="all",
            progress=not quiet,
        )
        baselines = _finish(tree, energy, key, folder)
        _save_picture(tx.plots.ladder(tree), folder / "ladder.png")
        _save_picture(tx.plots.summary(tree, baselines), folder / "summary.png")


@app.command()
def thermodynamics(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run of sample or temper.")],
) -> None:
    """Print energy, entropy, heat capacity and log Z of a finished run at every temperature, and draw them.

    Example: temperax thermodynamics run
    """
    import h5py
    import xarray as xr

    import temperax as tx
    from temperax.errors import check_result

    with _errors_in_one_sentence(tx.InputError):
        result = run / "result.nc"
        if not result.is_file():
            raise tx.InputError("RUN", str(run), "has no result.nc", "name the folder of a finished run")
        try:
            with h5py.File(
                result
            ):  # damaged files are found out here: h5netcdf leaves a traceback when it is collected
                pass
            # By the reader of what was written, so that no other one that is installed guesses what the file is.
            tree = xr.open_datatree(result, engine="h5netcdf").load()
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:  # what HDF5 says of damaged files
            raise tx.InputError(
                "RUN", str(run), f"has a result.nc that cannot be read ({error})", "run it again"
            ) from error
        stats = check_result(tree, "tempered_stats", "beta", "path_energy")
        if not {"chain", "draw", "temperature"} <= set(stats["path_energy"].dims) or stats["beta"].ndim != 1:
            raise tx.InputError("RUN", str(run), "has a result.nc of another kind", "name the folder of a finished run")
        found = tx.thermodynamics.ensemble(tree)
        tx.thermodynamics.report(found)
        peaks = tx.transitions.peaks(found)
        if len(peaks):
            print("\npeaks of the heat capacity:\n" + peaks.to_string(index=False, float_format="{:.3g}".format))
        _save_picture(tx.plots.thermodynamic_curves(found), run / "thermodynamics.png")
        print(f"\nthe picture is {run / 'thermodynamics.png'}")


def _prepare(out: Path, overwrite: bool, devices: int | None) -> Path:
    """The folder of the results and the devices, before any work is done."""
    import temperax as tx

    try:
        str(out).encode()
    except UnicodeEncodeError as error:
        raise tx.InputError("--out", str(out), "is not a name in UTF-8", "choose another folder") from error
    if (out / "result.nc").exists() and not overwrite:
        raise tx.InputError("--out", str(out), "has a result", "choose another folder or add --overwrite")
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".writable").touch()
        (out / ".writable").unlink()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        raise tx.InputError("--out", str(out), f"cannot be written ({reason})", "choose another folder") from error
    tx.use_cpu_devices(devices or os.cpu_count() or 1)
    tx.use_compilation_cache()
    return out


def _energy(
    data: str,
    target: list[str] | None,
    task: str,
    split: int,
    hidden: list[int] | None,
    activation: str,
    prior_scale: float,
    seed: int,
) -> "tuple[Energy, Array]":
    """The energy that the options describe, and the key of the run."""
    import jax

    import temperax as tx

    widths = tuple(hidden) if hidden is not None else (50,)
    prior = tx.priors.Normal(prior_scale)
    dataset = _load(data, target, task, split)
    if not len(dataset.x_test):
        raise tx.InputError("DATA", data, "has too few rows to hold any out for the scores", "give at least 5 rows")
    return tx.Energy.mlp(dataset, widths, activation, prior=prior), jax.random.key(seed)


def _load(data: str, target: list[str] | None, task: str, split: int) -> "Dataset":
    """A published data set by its name, or the user's CSV."""
    from temperax import datasets
    from temperax.errors import InputError

    if data in datasets.UCI or data in datasets.SKLEARN:
        return datasets.load(data, split)
    if not Path(data).suffix and not Path(data).exists():
        known = ", ".join(sorted([*datasets.UCI, *datasets.SKLEARN]))
        raise InputError("DATA", data, "is neither a data set nor a file", f"choose one of {known}")
    if not target:
        raise InputError("--target", target, "is missing", "name the target column of the CSV file")
    return datasets.Dataset.from_csv(data, target, task=task, split=split)  # type: ignore[arg-type]


def _finish(tree: "xr.DataTree", energy: "Energy", key: "Array", folder: Path) -> dict[str, float]:
    """Print the tables and write result and scores; returns the LPPD of the models to compare with."""
    import jax
    import pandas as pd

    import temperax as tx

    tree.to_netcdf(folder / "result.nc")  # first of all: what was computed is safe
    print()
    tx.diagnostics.report(tree)
    scores = tx.predict.scores(tree)
    scores.index = [f"T = {t:.4g}" for t in scores.index]
    if len(scores) > 8:  # of a ladder, the target and a few others
        rows = np.unique([*np.linspace(0, len(scores) - 1, 6).round().astype(int), len(scores) - 1])
        shown = scores.iloc[rows]
    else:
        shown = scores
    key, baselines = jax.random.fold_in(key, 99), {}
    for name, model, holdout in (
        ("MAP, early stopping", energy, 0.1),
        ("linear model, MAP", energy.replace(hidden=()), None),
    ):
        baselines[name] = tx.predict.scores(tx.map_estimate(key, model, holdout=holdout)).iloc[0]
    others = pd.DataFrame(baselines).T
    print("\n" + pd.concat([shown, others]).to_string(float_format="{:.3f}".format))
    pd.concat([scores, others]).to_csv(folder / "scores.csv")
    seconds = sum(json.loads(tree.attrs["timings"]).values())
    print(f"\n{seconds:.0f} s of sampling; draws, scores and pictures are in {folder}")
    return {name: float(row["lppd"]) for name, row in baselines.items()}


def _save_picture(figure: "Figure", path: Path) -> None:
    figure.savefig(path, dpi=120)


class _errors_in_one_sentence:  # noqa: N801 - a context manager, used like a function
    """Print the user's mistakes as one sentence and leave with status 2; other failures keep their traceback."""

    def __init__(self, error: type) -> None:
        self.error = error

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, value: BaseException | None, trace: object) -> None:
        if isinstance(value, self.error):
            print(f"temperax: {value}", file=sys.stderr)
            raise typer.Exit(2)
        if isinstance(value, KeyboardInterrupt):
            print("temperax: interrupted before the first draw; nothing was saved.", file=sys.stderr)
            raise typer.Exit(130)
        if isinstance(value, OSError):
            print(f"temperax: {value.strerror or value}: {value.filename or ''}", file=sys.stderr)
            raise typer.Exit(1)
        if isinstance(value, MemoryError):
            print("temperax: there is not enough memory for a network and data of this size.", file=sys.stderr)
            raise typer.Exit(1)
