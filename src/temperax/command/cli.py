"""The command line: ``temperax sample DATA …``."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from temperax.command.mistakes import (
    MIN_SCALE,
    check,
    check_drawn,
    check_finished,
    check_run,
    check_share,
    check_table,
    errors_in_one_sentence,
    read_command,
    writable,
)
from temperax.energies.dataset import TRAIN_FRACTION
from temperax.errors import check_positive

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
Task = Annotated[Literal["regression", "classification", "counts"], typer.Option(help="Kind of target of a CSV file.")]
Column = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=KIND",
        help="What a column is: number, category, date, date:FORMAT, cyclic:PERIOD, drop; repeat.",
    ),
]
Unknown = Annotated[
    Literal["error", "column"], typer.Option(help="What new rows do with a category that no row here has.")
]
Split = Annotated[int, typer.Option(help="Which train/test split.", min=0)]
TrainFraction = Annotated[float, typer.Option(help="Share of a CSV file's rows to train on; the others are scored.")]
Hidden = Annotated[list[int] | None, typer.Option(help="Width of a hidden layer; repeat for more. [default: 50]")]
Activation = Annotated[str, typer.Option(help="Activation of the hidden layers.")]
PriorScale = Annotated[float, typer.Option(help="Standard deviation of the N(0, s²) prior on every weight.")]
LikelihoodName = Annotated[
    Literal["gaussian", "heteroscedastic", "student"] | None,
    typer.Option("--likelihood", help="Noise of a regression. [default: gaussian]"),
]
MinScale = Annotated[
    float, typer.Option(help="Least noise of the heteroscedastic likelihood, in standard deviations of the target.")
]
Temperature = Annotated[list[float] | None, typer.Option(help="Temperature T; repeat for several. [default: 1]")]
PathName = Annotated[
    Literal["likelihood", "posterior"] | None, typer.Option("--path", help="What T tempers; needed unless T = 1.")
]
KernelName = Annotated[
    Literal["auto", "hmc", "nuts"],
    typer.Option("--kernel", help="What explores each replica; auto is HMC, with the scales of ReLU units in between."),
]
TargetAcceptance = Annotated[
    float | None, typer.Option(help="Mean acceptance that step sizes aim at. [default: that of the kernel]")
]
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
Storage = Annotated[Literal["float32", "float16"], typer.Option(help="How weights are stored.")]
SaveEvery = Annotated[float, typer.Option(help="Seconds between checkpoints.")]
Coordinator = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Process 0 of a job of several, or auto under Slurm, MPI or Kubernetes."),
]
NumProcesses = Annotated[int | None, typer.Option(help="How many processes the job has.", min=1)]
ProcessId = Annotated[int | None, typer.Option(help="Which of them this is, from 0.", min=0)]

LadderPath = Annotated[
    Literal["likelihood", "posterior", "reference"], typer.Option("--path", help="likelihood: from the prior.")
]
Replicas = Annotated[str, typer.Option(help="Rungs of the ladder, or auto.")]
Transitions = Annotated[int, typer.Option(help="Least number of the kernel's transitions between exchanges.")]
Hottest = Annotated[
    float | None, typer.Option(help="Hottest temperature. [default: inf, on the posterior path as hot as need be]")
]
Coldest = Annotated[float, typer.Option(help="Coldest temperature.")]
Ladders = Annotated[int, typer.Option("--chains", help="Independent ladders.")]


@app.command()
def sample(
    data: Data,
    target: Target = None,
    task: Task = "regression",
    column: Column = None,
    unknown: Unknown = "error",
    split: Split = 0,
    train_fraction: TrainFraction = TRAIN_FRACTION,
    hidden: Hidden = None,
    activation: Activation = "tanh",
    prior_scale: PriorScale = 1.0,
    likelihood: LikelihoodName = None,
    min_scale: MinScale = MIN_SCALE,
    temperature: Temperature = None,
    path: PathName = None,
    kernel: KernelName = "auto",
    target_acceptance: TargetAcceptance = None,
    chains: Chains = 4,
    warmup: Warmup = 300,
    draws: Draws = 1000,
    seed: Seed = 0,
    storage: Storage = "float32",
    save_every: SaveEvery = 60.0,
    devices: Devices = None,
    coordinator: Coordinator = None,
    num_processes: NumProcesses = None,
    process_id: ProcessId = None,
    out: Out = Path("run"),
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Sample a network's posterior at one or more temperatures; print diagnostics and scores, save draws and a picture.

    Example: temperax sample diabetes --temperature 1 --temperature 0.3 --path posterior --out run
    """
    options = _options(locals())
    with errors_in_one_sentence():
        check("sample", options, out, overwrite=overwrite)
        from temperax.command import shell

        machine = shell.Machine(devices, coordinator, num_processes, process_id)
        shell.begin("sample", options, out, machine, overwrite=overwrite, quiet=quiet)


@app.command()
def temper(
    data: Data,
    target: Target = None,
    task: Task = "regression",
    column: Column = None,
    unknown: Unknown = "error",
    split: Split = 0,
    train_fraction: TrainFraction = TRAIN_FRACTION,
    hidden: Hidden = None,
    activation: Activation = "tanh",
    prior_scale: PriorScale = 1.0,
    likelihood: LikelihoodName = None,
    min_scale: MinScale = MIN_SCALE,
    path: LadderPath = "likelihood",
    kernel: KernelName = "auto",
    target_acceptance: TargetAcceptance = None,
    replicas: Replicas = "auto",
    chains: Ladders = 4,
    draws: Draws = 1024,
    transitions: Transitions = 1,
    hottest: Hottest = None,
    coldest: Coldest = 1.0,
    seed: Seed = 0,
    storage: Storage = "float32",
    save_every: SaveEvery = 60.0,
    devices: Devices = None,
    coordinator: Coordinator = None,
    num_processes: NumProcesses = None,
    process_id: ProcessId = None,
    out: Out = Path("run"),
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Sample by replica exchange along a temperature ladder; print diagnostics and scores, save draws and pictures.

    Example: temperax temper diabetes --hidden 10 --draws 512 --out run
    """
    options = _options(locals())
    with errors_in_one_sentence():
        check("temper", options, out, overwrite=overwrite)
        from temperax.command import shell

        machine = shell.Machine(devices, coordinator, num_processes, process_id)
        shell.begin("temper", options, out, machine, overwrite=overwrite, quiet=quiet)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run of sample or temper that was stopped.")],
    draws: Annotated[int | None, typer.Option(help="Draws of every chain, more than was asked for first.")] = None,
    devices: Devices = None,
    coordinator: Coordinator = None,
    num_processes: NumProcesses = None,
    process_id: ProcessId = None,
    quiet: Quiet = False,
) -> None:
    """Go on with a run where its newest checkpoint stands, as if it had never stopped; also on other devices.

    Example: temperax resume run --draws 4096
    """
    with errors_in_one_sentence():
        found = read_command(run)
        from temperax.command import shell

        machine = shell.Machine(devices, coordinator, num_processes, process_id)
        shell.resume(run, found, draws, machine, quiet=quiet)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or file of a result.")],
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV file with the columns that the run was given.")],
    out: Annotated[
        Path | None, typer.Option(help="CSV file to write. [default: predictions.csv in the folder of the run]")
    ] = None,
    level: Annotated[float, typer.Option(help="Probability of the interval.")] = 0.9,
    every_temperature: Annotated[bool, typer.Option("--every-temperature", help="At all that were kept.")] = False,
    trust: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE", help="A package of yours that the run may import its functions from."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Predict new rows: mean, standard deviation and interval with noise, or class probabilities, in original units.

    Example: temperax predict run new.csv
    """
    with errors_in_one_sentence():
        check_drawn(run)
        check_table(table)
        folder = run.parent if run.is_file() else run
        file = writable(out if out is not None else folder / "predictions.csv", "table of predictions", table)
        check_share("--level", level)
        from temperax.command import shell

        shell.predict(run, table, file, level, every_temperature, trust or (), quiet=quiet)


@app.command()
def thermodynamics(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run of sample or temper.")],
) -> None:
    """Print energy, entropy, heat capacity and log Z of a finished run at every temperature, and draw them.

    Example: temperax thermodynamics run
    """
    with errors_in_one_sentence():
        check_finished(run)
        import temperax as tx
        from temperax.command import shell

        found = tx.thermodynamics.ensemble(shell.read_result(run))
        tx.thermodynamics.report(found)
        print()
        tx.transitions.report(found)
        shell.save_picture(tx.plots.thermodynamic_curves(found), run / "thermodynamics.png")
        print(f"\nthe picture is {run / 'thermodynamics.png'}")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, finished or not, or file of a result.")],
    out: Annotated[Path | None, typer.Option(help="HTML file to write. [default: RUN/report.html]")] = None,
) -> None:
    """Write a page that needs nothing else: verdict, diagnostics, ladder, thermodynamics, predictions, settings.

    Example: temperax report run
    """
    with errors_in_one_sentence():
        check_drawn(run)
        file = run.with_suffix(".html") if run.is_file() else run / "report.html"
        file = writable(file if out is None else out, "report", run)
        from temperax.command import shell

        print(f"the report is {shell.report(run, file)}")


@app.command()
def watch(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run that another process writes.")],
    every: Annotated[float, typer.Option(help="Seconds between looks.")] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="Look once.")] = False,
) -> None:
    """Follow a run that is being written: progress, expected end, R-hat and ESS so far, journeys; it is only read.

    Example: temperax watch run
    """
    with errors_in_one_sentence():
        check_run(run)
        check_positive("--every", every)
        from temperax.command import watch as watching

        watching.watch(run, every, once)


def _options(values: dict[str, Any]) -> dict[str, Any]:
    """What decides a run, of all that was typed."""
    machine = ("devices", "coordinator", "num_processes", "process_id")
    return {name: value for name, value in values.items() if name not in (*machine, "out", "overwrite", "quiet")}
