"""The command line: ``temperax sample DATA …``."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from jax import Array

    from temperax import Dataset, Energy

app = typer.Typer(
    help="Tempered posteriors of Bayesian neural networks, by HMC and NUTS on JAX.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def main() -> None:
    """Tempered posteriors of Bayesian neural networks, by HMC and NUTS on JAX."""


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
Seed = Annotated[int, typer.Option(help="Seed of all randomness.")]
Devices = Annotated[
    int | None, typer.Option(help="Processor devices to spread replicas over. [default: all cores]", min=1)
]
Out = Annotated[Path, typer.Option(help="Folder for the result and the picture.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a result that is there.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


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
    import os

    import temperax as tx

    with _errors_in_one_sentence(tx.InputError):
        folder = _prepare(out, overwrite, tx.InputError)
        tx.use_cpu_devices(devices or os.cpu_count() or 1)
        import jax

        dataset = _load(data, target, task, split)
        widths = tuple(hidden) if hidden is not None else (50,)
        energy = tx.Energy.mlp(dataset, widths, activation, prior=tx.priors.Normal(prior_scale))
        key = jax.random.key(seed)
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
        baselines = _baselines(jax.random.fold_in(key, 99), energy)
        _finish(tree, baselines, folder)


def _prepare(out: Path, overwrite: bool, error: type) -> Path:
    """The folder of the results, checked before the work is done."""
    if (out / "result.nc").exists() and not overwrite:
        raise error("--out", str(out), "has a result", "choose another folder or add --overwrite")
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".writable").touch()
        (out / ".writable").unlink()
    except OSError as failure:
        raise error("--out", str(out), f"cannot be written ({failure.strerror})", "choose another folder") from failure
    return out


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


def _baselines(key: "Array", energy: "Energy") -> "dict[str, pd.Series]":
    """Scores of the MAP of the same network and of the linear model."""
    import temperax as tx

    found = {}
    for name, model in (("MAP, early stopping", energy), ("linear model, MAP", energy.replace(hidden=()))):
        holdout = 0.1 if model is energy else None
        found[name] = tx.predict.scores(tx.map_estimate(key, model, holdout=holdout)).iloc[0]
    return found


def _finish(tree: "xr.DataTree", baselines: "dict[str, pd.Series]", folder: Path) -> None:
    """Print the tables, and write the result, its scores and its picture."""
    import pandas as pd

    import temperax as tx

    print()
    tx.diagnostics.report(tree)
    scores = tx.predict.scores(tree)
    scores.index = [f"T = {t:.4g}" for t in scores.index]
    table = pd.concat([scores, pd.DataFrame(baselines).T])
    print("\n" + table.to_string(float_format="{:.3f}".format))
    seconds = json.loads(tree.attrs["timings"])
    tree.to_netcdf(folder / "result.nc")
    figure = tx.plots.summary(tree, {name: row["lppd"] for name, row in baselines.items()})
    figure.savefig(folder / "summary.png", dpi=120)
    table.to_csv(folder / "scores.csv")
    print(f"\n{sum(seconds.values()):.0f} s; draws in {folder / 'result.nc'}, picture in {folder / 'summary.png'}")


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
