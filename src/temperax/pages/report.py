"""The report: a result as one page that needs nothing else, verdict first."""

import os
from pathlib import Path
from typing import Any

import xarray as xr

from temperax.analysis.diagnostics.sentences import at_temperatures
from temperax.analysis.diagnostics.temperatures import Functions
from temperax.analysis.diagnostics.verdicts import Judged, judged, lines_of
from temperax.errors import InputError, check_result
from temperax.pages import calls, consequences, findings
from temperax.pages.parts import Section, shown
from temperax.storage.rundir import place


def report(tree: xr.DataTree, path: str | Path, functions: Functions | None = None) -> Path:
    """Write a result as one HTML file that needs nothing else: neither network nor script.

    The verdict comes first, in a sentence; then diagnostics, what exchange did, energies, thermodynamics, parameters,
    predictions and their calibration, how columns were read, timings, settings and the call that repeats it, each where
    the result has it.

    Parameters
    ----------
    tree
        A result of any sampler or optimiser.
    path
        The file to write; one that is there is replaced.
    functions
        Functions of the parameters that are judged with them, as in `diagnostics.report`.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InputError
        If the tree is no result, or the file cannot be written.

    Examples
    --------
    >>> tx.report(tree, "report.html").name
    'report.html'
    """
    check_result(tree, "posterior")
    check_result(tree, "sample_stats", "lp")
    file = place(path)
    page = render(tree, functions, file=tree.encoding.get("source", "run.nc"))
    partial = file.with_name(f"{file.name}.partial-{os.getpid()}")
    try:
        partial.write_text(page, encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError("path", str(path), f"cannot be written ({error.strerror})", "choose another file") from error
    return file


def render(tree: xr.DataTree, functions: Functions | None = None, file: str = "run.nc") -> str:
    """The text of the page; ``file`` is what it calls the file of the result."""
    import jinja2

    tree = _whole(tree)
    lines = known = None
    if "tempered_stats" in tree.children:
        known = judged(tree, functions)
        lines = lines_of(tree, known)
        level, sentence = findings.verdict(lines)
        sentence = " ".join([sentence, *at_temperatures(tree, known.table)])
    else:
        level, sentence = findings.of_optima(tree)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)
    return environment.get_template("report.html.j2").render(
        title=title(tree),
        level=level,
        verdict=sentence,
        facts=facts(tree),
        sections=[s for s in sections(tree, known, lines, functions, os.path.basename(file)) if s is not None],
        footer=f"Made by temperax {tree.attrs.get('inference_library_version', '')} from {os.path.basename(file)}.",
    )


def _whole(tree: xr.DataTree) -> xr.DataTree:
    """A result whose groups have all their dimensions, of which ``isel(chain=0)`` takes one away."""
    found = xr.DataTree.from_dict({name: check_result(tree, name) for name in tree.children})
    found.attrs = tree.attrs
    return found


def sections(
    tree: xr.DataTree, known: Judged | None, lines: Any, functions: Functions | None, file: str
) -> list[Section | None]:
    """All sections in order, None for those that the result has nothing for."""
    return [
        findings.checks(tree, lines, functions),
        findings.exchange(tree, known),
        findings.particles(tree),
        findings.annealing(tree),
        findings.energies(tree),
        consequences.heat(tree, known),
        findings.parameters(tree),
        consequences.predictions(tree),
        calls.columns(tree),
        calls.timings(tree),
        calls.settings(tree),
        calls.repeating(tree, file),
    ]


def title(tree: xr.DataTree) -> str:
    """What was run on what."""
    name = str(tree.attrs.get("function", "result")).replace("_", " ")
    data = str(tree.attrs.get("data") or "")
    if data:
        return f"{data}: {name}"
    count = tree.attrs.get("num_parameters", "some")
    return f"{name[:1].upper()}{name[1:]} of {count} parameter{'' if count == 1 else 's'}"


def facts(tree: xr.DataTree) -> dict[str, str]:
    """The run in a few numbers."""
    sizes = tree["posterior"].sizes
    found = {"parameters": shown(int(tree.attrs["num_parameters"]))} if "num_parameters" in tree.attrs else {}
    found |= {"chains × draws": f"{sizes['chain']} × {shown(sizes['draw'])}"}
    if "tempered_stats" in tree.children:
        temperatures = check_result(tree, "tempered_stats")["temperature"].values
        some = ", ".join(shown(float(f"{t:.3g}")) for t in temperatures)
        few = len(temperatures) <= 4
        ends = f"{len(temperatures)}, from {shown(float(temperatures[0]))} to {shown(float(f'{temperatures[-1]:.3g}'))}"
        found["temperatures"] = some if few else ends
    if "constant_data" in tree.children:
        data = tree["constant_data"].sizes
        found["data"] = f"{shown(tree['observed_data'].sizes['row'])} training rows, {shown(data['test_row'])} held out"
        found["inputs"] = shown(data["input"])
    found |= {name: str(tree.attrs[name]) for name in ("kernel", "path") if name in tree.attrs}
    if "created_at" in tree.attrs:
        found["begun"] = f"{str(tree.attrs['created_at'])[:16].replace('T', ' ')} UTC"
    if tree.attrs.get("interrupted"):
        found["interrupted"] = "before all draws were made"
    return found
