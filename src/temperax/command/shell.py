"""What the commands of the shell do: prepare a folder and the devices, run, show, and go on with what was stopped."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
import typer
import xarray as xr
from jax import Array
from matplotlib.figure import Figure

import temperax as tx
from temperax.analysis.predict.comparisons import paired
from temperax.command.mistakes import COMMAND, MADE, RUN, as_replicas, load
from temperax.energies.energy import Energy
from temperax.energies.tables import read_csv
from temperax.errors import InputError, check_result
from temperax.machine import sharding
from temperax.plots.bands import has_one_input
from temperax.results.reading import posterior_temperature
from temperax.samplers.optimise import LINEAR
from temperax.storage.rundir import RunDirectory


class Machine(NamedTuple):
    """The part that a command has in a job: its devices, and the processes that it joins."""

    devices: int | None = None
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None

    def start(self) -> None:
        """Set up what must be set up before JAX starts."""
        if self != Machine(self.devices):
            tx.use_cpu_devices(self.devices or 1)
            coordinator = None if self.coordinator == "auto" else self.coordinator
            tx.use_processes(coordinator, self.num_processes, self.process_id)
        else:
            tx.use_cpu_devices(self.devices or os.cpu_count() or 1)
        tx.use_compilation_cache()


def begin(kind: str, options: Mapping[str, Any], out: Path, machine: Machine, *, overwrite: bool, quiet: bool) -> None:
    """Start a run of `SAMPLERS` in a folder that `mistakes.check` has prepared, and show its result."""
    machine.start()
    made = _energy(options)  # before anything is removed: mistakes in the data are found here
    if sharding.first_process():
        if overwrite:
            with ExitStack() as held:
                if RunDirectory.is_one(out):  # which somebody else may be writing
                    held.callback(RunDirectory(out, {}).lock().release)
                _remove(out)
        options = dict(options)
        if options["data"] not in tx.datasets.NAMES and Path(options["data"]).is_file():
            options["data"] = str(Path(options["data"]).resolve())  # to be found again from wherever it goes on
        _note(out, kind, options)
    sharding.meet("prepared")
    _run(kind, options, out, made, quiet=quiet, resume=False)


def resume(out: Path, found: Mapping[str, Any], draws: int | None, machine: Machine, *, quiet: bool) -> None:
    """Go on with a run, whose command was ``found``, where its newest checkpoint stands, perhaps for more draws."""
    machine.start()
    options = found["options"] | ({"draws": draws} if draws is not None else {})
    before = found["options"].get("draws")
    if draws is not None and isinstance(before, int) and draws > before and sharding.first_process():
        _note(out, found["command"], options)  # first of all: if this process is killed, the next one wants them too
    _run(found["command"], options, out, quiet=quiet, resume=True)


def _note(out: Path, command: str, options: Mapping[str, Any]) -> None:
    """Write what was asked for into the run's folder, whole or not at all."""
    partial = out / f"{COMMAND}.partial"
    partial.write_text(json.dumps({"command": command, "options": options}))
    partial.replace(out / COMMAND)


def _sample(key: Array, energy: Energy, options: Mapping[str, Any], **run: Any) -> xr.DataTree:
    return tx.sample(
        key,
        energy,
        options["temperature"] or [1.0],
        path=options["path"],
        kernel=_kernel(options, energy),
        num_chains=options["chains"],
        num_warmup=options["warmup"],
        num_draws=options["draws"],
        storage=options["storage"],
        **run,
    )


def _kernel(options: Mapping[str, Any], energy: Energy) -> Any:
    """What was typed of the kernel: a name, or the kernel that aims at another acceptance."""
    name, target = options["kernel"], options.get("target_acceptance")  # of which runs of earlier versions say nothing
    if target is None:
        return name
    found: Any = tx.kernels.as_kernel(name, energy)
    alternates = isinstance(found, tx.kernels.Alternating)
    aiming = replace(found.kernel if alternates else found, target_acceptance=target)
    return replace(found, kernel=aiming) if alternates else aiming


def _temper(key: Array, energy: Energy, options: Mapping[str, Any], **run: Any) -> xr.DataTree:
    return tx.parallel_tempering(
        key,
        energy,
        path=options["path"],
        kernel=_kernel(options, energy),
        num_replicas=as_replicas(options["replicas"]),
        num_chains=options["chains"],
        num_draws=options["draws"],
        transitions=options["transitions"],
        hottest=options["hottest"],
        coldest=options["coldest"],
        keep="all",
        storage=options["storage"],
        **run,
    )


#: Samplers by the name of their command.
SAMPLERS: dict[str, Callable] = {"sample": _sample, "temper": _temper}


def _run(
    kind: str,
    options: Mapping[str, Any],
    out: Path,
    made: tuple[Energy, Array] | None = None,
    *,
    quiet: bool,
    resume: bool,
) -> None:
    """Run or go on, with the energy and key that are ``made``, print the tables, and write result and pictures."""
    try:
        energy, key = _energy(options) if made is None else made
        if not resume and sharding.first_process():
            show_columns(energy)
        every = {"directory": out, "resume": resume, "save_every": options["save_every"], "progress": not quiet}
        tree = SAMPLERS[kind](key, energy, options, **every)
    except KeyError as error:
        raise InputError("RUN", str(out), f"has a {COMMAND} without {error}", "start another run") from error
    if not sharding.first_process():
        return
    baselines = _show(tree, energy, key, out)
    if kind == "temper":
        save_picture(tx.plots.ladder(tree), out / "ladder.png")
    if has_one_input(tree):
        save_picture(tx.plots.bands(tree), out / "bands.png")
    save_picture(tx.plots.summary(tree, baselines), out / "summary.png")
    if tree.attrs["interrupted"]:
        draws = tree["posterior"].sizes["draw"]
        print(f"stopped after {draws} of {options['draws']} draws, which are saved; temperax resume {out} goes on")
        raise typer.Exit(130)


def show_columns(energy: Energy) -> None:
    """How the columns of the user's table were read, and what becomes of them."""
    data = energy.dataset
    if data is None or data.encoding is None:
        return
    print(data.encoding.table().to_string())
    print(f"target: {', '.join(data.targets)} ({data.task}); {len(data.x)} training rows, {len(data.x_test)} held out")
    if data.classes and len(data.targets) == 1:
        counts = [np.bincount(np.ravel(y).astype(int), minlength=len(data.classes)) for y in (data.y, data.y_test)]
        table = pd.DataFrame(counts, ["training", "held out"], data.classes)
        print(table.to_string())
    print()


def predict(
    run: Path, table: Path, out: Path, level: float, every_temperature: bool, trust: Sequence[str], *, quiet: bool
) -> None:
    """Predict the rows of a table by a run, write them as CSV, and show the first."""
    tx.use_cpu_devices(1)
    tree = _read_any(run).load()
    group = "tempered_posterior" if every_temperature and "tempered_posterior" in tree.children else "posterior"
    energy = tx.energy_of(tree, trust)
    encoding = None if energy.dataset is None else energy.dataset.encoding
    try:
        frame = read_csv(table, text=() if encoding is None else (*encoding.text, *encoding.dropped))
    except InputError as error:
        raise InputError("TABLE", str(table), error.problem, error.remedy) from error
    found = tx.predict.summary(tree, frame, energy, intervals=(level,), group=group, progress=not quiet)
    found.index = found.index.set_names([*(["temperature"] if found.index.nlevels > 1 else []), "row"])
    for name in () if encoding is None else reversed(encoding.dropped):  # what is no input may tell rows apart
        if name in frame and name not in found:
            found.insert(0, name, np.resize(frame[name].to_numpy(), len(found)))
    found.to_csv(out, float_format="%.15g")  # of large numbers, the standard deviation may be in the last digits
    print(found.head(10).to_string(float_format="{:.4g}".format))
    at = "every temperature" if found.index.nlevels > 1 else f"T = {posterior_temperature(tree):.4g}"
    print(f"{len(frame)} rows predicted at {at}; all of them are in {out}")


def report(run: Path, file: Path) -> Path:
    """Write the report of a run's folder, or of the file of a result."""
    tx.use_cpu_devices(1)
    return tx.report(_read_any(run), file)


def _read_any(run: Path) -> xr.DataTree:
    """The result in a file, in the folder of a finished run, or in one that is still written."""
    if run.is_file():
        return read_tree(run)
    if (run / "result.nc").is_file():
        return read_result(run)
    tree = tx.open_run(run)
    tree.encoding["source"] = str(run)
    return tree


def read_result(run: Path) -> xr.DataTree:
    """The result in the folder of a finished run."""
    tree = read_tree(run / "result.nc", str(run))
    stats = check_result(tree, "tempered_stats", "beta", "path_energy")
    if not {"chain", "draw", "temperature"} <= set(stats["path_energy"].dims) or stats["beta"].ndim != 1:
        raise InputError("RUN", str(run), "has a result.nc of another kind", "name the folder of a finished run")
    return tree


def read_tree(file: Path, run: str | None = None) -> xr.DataTree:
    """A result from its file, that of the folder ``run``."""
    import h5py

    try:
        with h5py.File(file):  # damaged files are found out here: h5netcdf leaves a traceback when it is collected
            pass
        # By the reader of what was written, so that no other one that is installed guesses what the file is.
        tree = xr.open_datatree(file, engine="h5netcdf").load()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:  # what HDF5 says of damaged files
        what = "cannot be read" if run is None else f"has a {file.name} that cannot be read"
        raise InputError("RUN", run or str(file), f"{what} ({error})", "run it again") from error
    tree.encoding["source"] = str(file)
    return tree


def _remove(out: Path) -> None:
    """Take a run, and what was made of it, out of its folder, and leave everything else that is there."""
    for name in (*RUN, *MADE):
        found = out / name
        if found.is_dir() and not found.is_symlink():
            shutil.rmtree(found)
        else:
            found.unlink(missing_ok=True)


def _energy(options: Mapping[str, Any]) -> tuple[Energy, Array]:
    """The energy that the options describe, and the key of the run."""
    widths = tuple(options["hidden"]) if options["hidden"] is not None else (50,)
    prior = tx.priors.Normal(options["prior_scale"])
    dataset = load(options)
    if not len(dataset.x_test):
        few = "has too few rows to hold any out for the scores"
        raise InputError("DATA", options["data"], few, "give at least 5 rows")
    energy = Energy.mlp(dataset, widths, options["activation"], _likelihood(options), prior)
    return energy, jax.random.key(options["seed"])


def _likelihood(options: Mapping[str, Any]) -> Any:
    """What was typed of the noise; None for that of the task."""
    kinds: dict[str, Callable] = {
        "gaussian": tx.likelihoods.Gaussian,
        "heteroscedastic": lambda: tx.likelihoods.HeteroscedasticGaussian(options["min_scale"]),
        "student": tx.likelihoods.StudentT,
    }
    name = options.get("likelihood")  # of which runs of earlier versions say nothing
    return None if name is None else kinds[name]()


def _show(tree: xr.DataTree, energy: Energy, key: Array, folder: Path) -> dict[str, float]:
    """Print the tables and write result and scores; returns the LPPD of the models to compare with."""
    tree.to_netcdf(folder / "result.nc")  # first of all: what was computed is safe, and can be passed on
    print()
    tx.diagnostics.report(tree)
    scores = tx.predict.scores(tree)
    scores.index = [f"T = {t:.4g}" for t in scores.index]
    if len(scores) > 8:  # of a ladder, the target and a few others
        rows = np.unique([*np.linspace(0, len(scores) - 1, 6).round().astype(int), len(scores) - 1])
        shown = scores.iloc[rows]
    else:
        shown = scores
    baselines = tx.optimise.baselines(jax.random.fold_in(key, 99), energy)
    others = pd.DataFrame({name: tx.predict.scores(found).iloc[0] for name, found in baselines.items()}).T
    print("\n" + pd.concat([shown, others]).to_string(float_format="{:.3f}".format))
    print(_in_words(tree, baselines[LINEAR]))
    pd.concat([scores, others]).to_csv(folder / "scores.csv")
    seconds = sum(json.loads(tree.attrs["timings"]).values())
    print(f"\n{seconds:.0f} s of sampling; draws, scores and pictures are in {folder}")
    return others["lppd"].to_dict()


def _in_words(tree: xr.DataTree, line: xr.DataTree) -> str:
    """Whether the posterior predicts held-out rows better than a line does, and what to make of it.

    At the posterior's own temperature: the best of many on these rows would be chosen by them.
    """
    rows, target = tx.predict.pointwise(tree), posterior_temperature(tree)
    here = rows.sel(temperature=target, method="nearest")
    gain, error = paired(here.values, tx.predict.pointwise(line).isel(temperature=0).values)
    said = f"{abs(gain):.3f} ± {error:.3f} nats a row"
    network = f"The network at T = {target:.3g}"
    if gain > 2 * error:
        return f"{network} predicts the {len(here)} held-out rows better than a line, by {said}."
    if gain < -2 * error:
        return (
            f"{network} predicts the {len(here)} held-out rows worse than a line, by {said}: take the line, or "
            "give the network a narrower prior or fewer units."
        )
    return (
        f"{network} and a line predict the {len(here)} held-out rows alike ({'+' if gain > 0 else '-'}{said}): these "
        "rows do not say that a network is needed."
    )


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure."""
    figure.savefig(path, dpi=120)
