"""Pages that nobody writes by hand: the reference, from docstrings, and tables of benchmarks, from their JSON.

`public` is also what the tests ask for an example (``tests/test_examples.py``).
"""

import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pandas as pd

import temperax as tx


class Page(NamedTuple):
    """A page of the reference: names of ``temperax`` itself, or a room, all of whose names it has."""

    title: str
    purpose: str
    names: tuple[str, ...] = ()
    room: str = ""


#: The reference in the order of its sidebar, by file name.
REFERENCE = {
    "data": Page("Data", "Tables become standardised training and held-out rows.", ("Dataset",)),
    "datasets": Page("Data sets", "The field's tables, by name.", room="datasets"),
    "energy": Page("Energies", "What is sampled: prior energy and data energy, apart, in nats.", ("Energy",)),
    "likelihoods": Page("Likelihoods", "How targets scatter around a network's outputs.", room="likelihoods"),
    "priors": Page("Priors", "What weights are before the data.", room="priors"),
    "modules": Page("Modules", "Networks of Flax and Equinox, and NumPyro's own loop.", room="modules"),
    "samplers": Page(
        "Samplers",
        "From an energy to draws at one temperature, several, or all along a ladder.",
        ("sample", "parallel_tempering", "smc", "anneal", "map_estimate", "deep_ensemble"),
    ),
    "optimise": Page("Optimisation", "T = 0: minima of the energy.", room="optimise"),
    "kernels": Page("Kernels", "What moves one replica at one temperature.", room="kernels"),
    "ladder": Page("Ladders", "Where to put temperatures, and the barrier between them.", room="ladder"),
    "tempering": Page("Paths", "Families of densities that β runs through.", room="tempering"),
    "systems": Page("Systems", "Magnets, memories and fields as energies.", room="systems"),
    "runs": Page(
        "Results and runs",
        "Runs on disk, results on their own, devices and processes.",
        (
            "open_run",
            "repeat",
            "report",
            "energy_of",
            "add_log_likelihood",
            "use_cpu_devices",
            "use_processes",
            "use_compilation_cache",
            "InputError",
            "StorageError",
            "Interrupted",
            "ProcessError",
        ),
    ),
    "diagnostics": Page("Diagnostics", "Have the chains converged, and what to do if not.", room="diagnostics"),
    "predict": Page("Predictions", "New rows in the user's units, and scores of held-out ones.", room="predict"),
    "thermodynamics": Page("Thermodynamics", "log Z, energies and entropies from one ladder.", room="thermodynamics"),
    "transitions": Page("Transitions", "Peaks of the heat capacity, and what kind they are.", room="transitions"),
    "singular": Page("Learning coefficients", "How many parameters a model really has.", room="singular"),
    "studies": Page("Studies", "What high and low T say of a network.", room="studies"),
    "plots": Page("Pictures", "One function a picture, from results alone.", room="plots"),
    "estimators": Page(
        "scikit-learn", "Tempered posteriors as estimators.", ("TemperedRegressor", "TemperedClassifier")
    ),
    "recipes": Page("Recipes", "What did well, within a given time.", room="recipes"),
    "numpyro": Page("Inside NumPyro", "Kernels for `numpyro.infer.MCMC`.", room="numpyro"),
}

#: Names of rooms that other rooms need and users do not.
INSIDE = {
    *(f"Energy.{name}" for name in ("bare", "dims", "discrete", "free", "joint", "layout", "likelihood_dims")),
    *(f"Energy.{name}" for name in ("localised_at", "of_arguments", "offsets", "over_rows", "position", "prior_terms")),
    *(f"Energy.{name}" for name in ("proper", "relative_to", "with_data", "variables", "log_likelihoods")),
    "likelihoods.Likelihood.check_parameters",
    "likelihoods.Likelihood.check_targets",
    "likelihoods.Likelihood.fitted",
    "datasets.Source",
    "datasets.cache_folder",
    "datasets.check_split",
    "kernels.KernelLike",
    "kernels.most_steps",
    "ladder.check_beside",
    "ladder.check_end",
    "ladder.check_ladder",
    "ladder.finds_hottest",
    "ladder.first",
    "ladder.lag_one",
    "ladder.lag_one_of_sums",
    "ladder.pin",
    "ladder.tried",
    "likelihoods.default",
    "modules.ModuleNetwork",
    "modules.Shaped",
    "modules.opened",
    "numpyro.LadderState",
    "predict.positions",
    "priors.Elementwise",
    "priors.as_prior",
    "priors.check_scale_prior",
    "priors.network_prior",
    "singular.learning_coefficient",
    "systems.HeatBath",
    "systems.Spin",
    "tempering.Point",
    "tempering.Terms",
    "tempering.evaluate",
    "tempering.inverse_temperatures",
    "tempering.potential_at",
    "tempering.target_slot",
    "tempering.temper",
    "tempering.temper_on_host",
    "tempering.terms",
}
#: Classes whose methods users call, or write.
WITH_METHODS = {
    "Dataset",
    "Energy",
    "TemperedClassifier",
    "TemperedRegressor",
    "kernels.Explorer",
    "kernels.Kernel",
    "ladder.Barrier",
    "likelihoods.Likelihood",
    "optimise.Optima",
    "priors.Prior",
    "tempering.Path",
}
#: Names that are explained elsewhere in the reference.
ELSEWHERE = {"optimise.anneal", "optimise.deep_ensemble", "optimise.map_estimate"}
#: What singular learning theory's page begins with, though its function is the library's.
ALSO = {"singular": ["learning_coefficient"]}


#: Benchmarks whose results are put together from several runs.
IN_PARTS = {"glass", "modes", "potts", "sampling"}


def public() -> dict[str, list[str]]:
    """Public names by page of the reference, as a user writes them behind ``tx.``."""
    found = {}
    for file, page in REFERENCE.items():
        names = list(page.names) or [f"{page.room}.{name}" for name in _names(getattr(tx, page.room))]
        found[file] = ALSO.get(file, []) + [name for name in names if name not in INSIDE | ELSEWHERE]
    return found


def _names(room: ModuleType) -> list[str]:
    """What a room says is public, or else every function and class of its own, in its order."""
    if hasattr(room, "__all__"):
        return list(room.__all__)
    owners = (room.__name__, f"{room.__name__}.") if hasattr(room, "__path__") else (room.__name__,)
    return [
        name
        for name, value in vars(room).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and (value.__module__ == owners[0] or value.__module__.startswith(owners[1:]))
    ]


def find(name: str) -> object:
    """The object behind a public name."""
    found: object = tx
    for part in name.split("."):
        found = getattr(found, part)
    return found


def methods(name: str) -> list[str]:
    """Methods and properties of a public class, where users call or write them, in the order of its source."""
    if name not in WITH_METHODS:
        return []
    owner = find(name)
    assert inspect.isclass(owner)
    found: dict[str, None] = {}
    for base in owner.__mro__:
        for method, value in vars(base).items() if base.__module__.startswith("temperax") else ():
            is_method = inspect.isfunction(value) or isinstance(value, (classmethod, staticmethod, property))
            if is_method and value.__doc__ and not method.startswith(("_", "tree_")):
                found[method] = None
    return [method for method in found if f"{name}.{method}" not in INSIDE]


def write(docs: Path) -> None:
    """Write the pages of the reference and the benchmarks' tables; files that would not change stay."""
    for file, names in public().items():
        _write(docs / "api" / f"{file}.rst", _reference(REFERENCE[file], names))
    _write(docs / "made" / "benchmarks.md", _benchmarks(docs.parent / "benchmarks" / "results"))


def _reference(page: Page, names: list[str]) -> str:
    lines = [
        page.title,
        "=" * len(page.title),
        "",
        page.purpose.replace("`", "``"),
        "",
        ".. currentmodule:: temperax",
        "",
    ]
    if len(names) > 1:
        lines += [".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in names), ""]
    for name in names:
        owner = find(name)
        lines += [f".. auto{'class' if inspect.isclass(owner) else 'function'}:: temperax.{name}"]
        for method in methods(name):
            kind = "property" if isinstance(inspect.getattr_static(owner, method), property) else "method"
            lines += ["", f"   .. auto{kind}:: temperax.{name}.{method}"]
        lines += [""]
    return "\n".join(lines)


def _benchmarks(results: Path) -> str:
    """A section for every JSON: its command, its machine, its rows and which goals are met."""
    parts = []
    for file in sorted(results.glob("*.json")):
        found = json.loads(file.read_text())
        command, rows = _command_and_rows(file, found["rows"])
        machine = found["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
        parts += [
            f"## `results/{file.name}`",
            "",
            f"```bash\n{command} --json benchmarks/results/{file.name}\n```",
            "",
            "Rows may have been made in parts: `benchmarks/README.md` has their options.",
            "",
            f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}; {versions}.",
            "",
            rows,
            "### Goals",
            "",
            "| goal | measured | asked | met |",
            "|---|---|---|---|",
            *(
                f"| {goal['name']} | {_number(goal['value'])} | {goal['goal']:.3g} | {'yes' if goal['met'] else 'no'} |"
                for goal in found["goals"]
            ),
            "",
        ]
    return "\n".join(parts)


def _number(value: float | None) -> str:
    """Three digits, and a dash where there is none."""
    return "\N{EN DASH}" if value is None else f"{value:.3g}"


def _command_and_rows(file: Path, rows: list[dict]) -> tuple[str, str]:
    """The command that made a JSON, and its rows as tables; those of the field's tables as their benchmark has them."""
    if "protocol" in rows[0]:
        from benchmarks.uci import tables

        protocol = rows[0]["protocol"]
        text = tables.markdown(rows, protocol).replace("### ", "### Data set ").replace(" ± ", "\N{NO-BREAK SPACE}± ")
        return f"python -m benchmarks.uci benchmarks/uci/configs/{protocol}.toml", text
    # A row of a file that was merged has a machine and versions of its own, which the file has and no cell can show.
    table = pd.DataFrame(rows).drop(columns=["machine", "versions"], errors="ignore").dropna(axis="columns", how="all")
    first = [column for column in ("target", "method", "seed") if column in table]
    table = (table.sort_values(first, kind="stable") if first else table).convert_dtypes()
    table = table.loc[:, ~table.map(lambda value: isinstance(value, list)).any()]  # which the JSON has
    cells = [["" if pd.isna(value) else value for value in row] for row in table.astype(object).to_numpy().tolist()]
    lines = ["| " + " | ".join(table.columns) + " |", "|---" * len(table.columns) + "|"]
    lines += ["| " + " | ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row) + " |" for row in cells]
    return f"python -m benchmarks.{file.stem}{' --merge' * (file.stem in IN_PARTS)}", "\n".join(lines) + "\n"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    if not file.exists() or file.read_text() != text:
        file.write_text(text)
