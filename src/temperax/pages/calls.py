"""How a result was made: settings, versions, timings, and the call that repeats it as Python text."""

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from temperax.energies.encoding import Encoding
from temperax.energies.energy import Energy
from temperax.errors import InputError, check_result
from temperax.pages.parts import Block, Code, Section, Table, Text, shown
from temperax.results.carried import recipe
from temperax.samplers.optimise import anneal, deep_ensemble, map_estimate
from temperax.samplers.repeating import SAMPLERS
from temperax.samplers.smc import smc

#: What returns results, by the name that they carry.
FUNCTIONS: Mapping[str, Callable] = {
    **SAMPLERS,
    "smc": smc,
    "anneal": anneal,
    "map_estimate": map_estimate,
    "deep_ensemble": deep_ensemble,
}
#: Arrays of more values are left out of a call.
MOST_VALUES = 64
#: Characters of a line.
WIDTH = 88


def as_python(value: Any) -> str:
    """What `notation.encode` wrote, as a Python expression; ``...`` stands for what only the file has.

    Parameters
    ----------
    value
        Plain JSON, in which objects have their class and arguments.
    """
    if isinstance(value, list):
        return f"[{', '.join(map(as_python, value))}]"
    if isinstance(value, float) and not np.isfinite(value):
        return f"float('{value}')"
    if not isinstance(value, dict):
        return repr(value)
    if "tuple" in value:
        return f"({''.join(f'{as_python(v)}, ' for v in value['tuple'])})"
    if "array" in value:
        values = value.get("values")
        few = values is not None and np.size(values) <= MOST_VALUES
        return f"np.array({as_python(values)}, {value['array']!r})" if few else "..."
    if "function" in value:
        return str(value["function"]).replace(":", ".")
    for kind, prefix in (("class", "tx."), ("distribution", "dist."), ("linen", "")):
        if kind in value:
            arguments = ", ".join(f"{k}={as_python(v)}" for k, v in value.get("arguments", {}).items())
            return f"{prefix}{value[kind].replace(':', '.')}({arguments})"
    return f"{{{', '.join(f'{k!r}: {as_python(v)}' for k, v in value.items())}}}"


def call(tree: xr.DataTree) -> str:
    """The lines of Python that made a result; the data set is ``data``, an energy of the user's own ``energy``.

    Raises
    ------
    InputError
        If the result does not say how it was made.
    """
    name = str(tree.attrs.get("function"))
    made, arguments = recipe(tree, "energy"), recipe(tree, "arguments")
    lines = []
    if isinstance(made, dict):
        door = Energy.network if "module" in made else Energy.mlp
        lines.append(
            f"# data: the data set {tree.attrs.get('data')!r}, which is in the result: tx.energy_of(result).dataset"
        )
        lines.append(_broken(f"energy = tx.Energy.{door.__name__}", ["data", *_arguments(made, door)]))
    else:
        lines.append("# energy: a function of the user's own, which the result does not carry")
    lines.append(_broken(f"tree = tx.{name}", [_key(tree), "energy", *_arguments(arguments, FUNCTIONS.get(name))]))
    text = "\n".join(lines)
    needed = [("np.", "import numpy as np"), ("dist.", "import numpyro.distributions as dist")]
    imports = ["import jax", "import temperax as tx", *(line for word, line in needed if word in text)]
    return "\n".join([*imports, "", text])


def _arguments(given: Mapping[str, Any], function: Callable | None) -> list[str]:
    """What differs from the defaults, each by its name."""
    known = inspect.signature(function).parameters if function else {}
    return [f"{k}={as_python(v)}" for k, v in given.items() if k not in known or not _same(v, known[k].default)]


def _broken(called: str, arguments: list[str]) -> str:
    """A call in one line, or in a line an argument where that is too long."""
    line = f"{called}({', '.join(arguments)})"
    return line if len(line) <= WIDTH else "".join([f"{called}(\n", *(f"    {a},\n" for a in arguments), ")"])


def _same(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and value == default)


def _key(tree: xr.DataTree) -> str:
    """The random key, as the seed where it is that of one."""
    words, kind = recipe(tree, "key"), tree.attrs.get("key_implementation")
    if kind == "threefry2x32" and len(words) == 2 and words[0] == 0:
        return f"jax.random.key({words[1]})"
    return f"jax.random.wrap_key_data(jax.numpy.array({words}, 'uint32'), impl={kind!r})"


def repeating(tree: xr.DataTree, file: str) -> Section | None:
    """The calls that repeat a result: the one that made it, and the one that needs the file alone."""
    try:
        made, text = recipe(tree, "energy"), call(tree)
    except InputError:
        return None  # a tree that was put together by hand
    blocks: list[Block] = [Text(["The call that made this result:"]), Code(text)]
    if "..." in text:
        blocks.append(Text(["The dots stand for arrays, which the file has."]))
    if tree.attrs["function"] in SAMPLERS and isinstance(made, dict):
        of_file = Path(file).suffix == ".nc"
        more, opened = (", xarray as xr", "xr.open_datatree") if of_file else ("", "tx.open_run")
        from_file = f"import temperax as tx{more}\n\ntree = tx.repeat({opened}({file!r}))"
        blocks += [Text(["From the file alone, which carries the data:"]), Code(from_file)]
    return Section("Repeat it", blocks)


def timings(tree: xr.DataTree) -> Section | None:
    """Seconds of every stage, and what they gave."""
    laps = json.loads(tree.attrs.get("timings", "{}"))
    if not laps:
        return None
    whole = sum(laps.values())
    rows = [(stage, seconds, f"{seconds / whole:.0%}") for stage, seconds in laps.items()]
    rows.append(("all", whole, "100%"))
    if "compilation" in tree.attrs:
        compiled = float(tree.attrs["compilation"])
        rows.append(("of which compiling", compiled, f"{compiled / whole:.0%}"))
    table = pd.DataFrame(rows, columns=["stage", "seconds", "share"])
    sizes, said = tree["posterior"].sizes, []
    if laps.get("draws"):
        draws = sizes["chain"] * sizes["draw"]
        steps = int(tree["tempered_stats"]["n_steps"].sum()) if "tempered_stats" in tree.children else 0
        said = [
            f"{shown(round(draws / laps['draws']))} draws and {shown(round(steps / laps['draws']))} gradients a second "
            "while drawing, with what was compiled meanwhile."
        ]
    return Section("Timings", [Text(said), Table("Seconds by stage", table)])


def columns(tree: xr.DataTree) -> Section | None:
    """How each column of the user's table was read, and what became of it."""
    encoding = Encoding.from_json(recipe(tree, "encoding")) if "encoding" in tree.attrs else None
    if encoding is None:
        return None
    targets = ", ".join(map(str, check_result(tree, "constant_data")["target"].values))
    said = f"The target is {targets} ({tree.attrs['task']})."
    return Section("Data", [Text([said]), Table("How each column was read", encoding.table().reset_index())])


def settings(tree: xr.DataTree) -> Section | None:
    """Every argument of the sampler and of the energy, defaults too, and the versions."""
    names = ("inference_library_version", "jax_version", "numpyro_version", "device", "created_at", "path", "kernel")
    titles = {"inference_library_version": "temperax", "jax_version": "JAX", "numpyro_version": "NumPyro"}
    versions = {titles.get(n, n.replace("_", " ")): tree.attrs[n] for n in names if n in tree.attrs}
    blocks: list[Block] = [_pairs("Versions and machine", versions)]
    for name, caption in (("arguments", "Arguments of the sampler"), ("energy", "Arguments of the energy")):
        found = json.loads(tree.attrs.get(name, "null"))
        if isinstance(found, dict):
            blocks.append(_pairs(caption, {k: _short(as_python(v)) for k, v in found.items()}, folded=True))
    return Section("Settings", blocks) if versions else None


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:297]}..."


def _pairs(caption: str, values: Mapping[str, Any], folded: bool = False) -> Table:
    frame = pd.DataFrame({"name": list(values), "value": [str(v) for v in values.values()]}, dtype=object)
    return Table(caption, frame, folded)
