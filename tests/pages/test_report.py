"""The report as text: what it says, that it is one sound page, and that what users named stays a name."""

import collections
import html.parser
import re
import sys
from functools import cache

import numpy as np
import numpyro.distributions as dist
import pytest
import xarray as xr
from small_results import KEY, KINDS, data, made, text_of

import temperax as tx
from temperax.pages import calls, findings
from temperax.pages.report import render
from temperax.plots.inline import as_svg
from temperax.results import notation

VOID = {"meta", "link", "br", "img"}


class Page(html.parser.HTMLParser):
    """Elements with their attributes, and whether every one that was opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.said = [], [], collections.Counter()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.said[text.strip()] += 1

    def all(self, name):
        return [attributes for tag, attributes in self.elements if tag == name]


@cache
def page_of(kind):
    return Page(text_of(kind))


SECTIONS = {
    "sample": {"diagnostics", "energies", "thermodynamics", "parameters", "predictions", "timings", "repeat-it"},
    "ladder": {"diagnostics", "ladder", "energies", "thermodynamics", "parameters", "timings", "repeat-it"},
    "smc": {"diagnostics", "particles", "thermodynamics", "parameters", "timings"},
    "anneal": {"annealing", "settings", "repeat-it"},
    "bad": {"diagnostics", "energies", "parameters", "timings", "settings", "repeat-it"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_has_the_sections_of_its_result_and_no_others(kind):
    found = {section["id"] for section in page_of(kind).all("section")}
    assert found >= SECTIONS[kind]
    assert ("predictions" in found) == ("data" in found) == (kind == "sample")
    assert ("ladder" in found) == (kind == "ladder") and ("particles" in found) == (kind == "smc")
    assert ("diagnostics" in found) == (kind != "anneal")
    assert found == {link["href"][1:] for link in page_of(kind).all("a")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_sound_and_needs_nothing_else(kind):
    page = page_of(kind)
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    assert page.all("html")[0]["lang"] == "en"
    assert [tag for tag, _ in page.elements if tag in ("h1", "h2", "h3")][0] == "h1"
    assert {tag for tag, _ in page.elements} & {"h1", "h3", "script", "img", "iframe"} == {"h1"}
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    for svg in page.all("svg"):
        assert svg["role"] == "img" and len(svg["aria-label"]) > 30
    assert len(page.all("svg")) >= 1 and len(page.all("figcaption")) == len(page.all("svg"))


def test_what_users_named_is_text():
    """Names of parameters, data and files are neither markup nor lost."""
    whole, wicked = made("ladder"), "<script>alert('x')"
    groups = {"posterior": whole["posterior"].to_dataset().rename(theta=wicked)}
    tree = xr.DataTree.from_dict(groups | {"sample_stats": whole["sample_stats"].to_dataset()})
    tree.attrs = whole.attrs | {"data": wicked}
    text = render(tree, file=f"{wicked}.nc")
    assert wicked not in text and text.count("&lt;script&gt;") > 3
    assert not Page(text).all("script")
    svg = as_svg(tx.plots.trace(tree).set_title(wicked).axes, "name", f'{wicked}" onload="alert()')
    assert "<script" not in svg and ' onload="' not in svg


def test_numbers_of_a_picture_are_shown_whole():
    """What places a mark is cut to hundredths of a point; what a reader reads is not."""
    axes = tx.plots.trace(made("ladder"))
    axes.set_yticks([0.0125, 0.0175], ["0.0125", "0.0175"])
    svg = as_svg(axes, "name", "R-hat 1.0375")
    assert ">0.0125<" in svg and ">0.0175<" in svg
    assert not re.search(r' d="[^"]*\.\d{3}', svg)


def test_the_verdict_is_that_of_the_diagnostics():
    lines = tx.diagnostics.verdicts(made("sample"))
    level, sentence = findings.verdict(lines)
    assert level == "bad" and "Do not use these draws yet" in sentence and "R-hat" in sentence
    assert any("verdict bad" in p.get("class", "") for p in page_of("sample").all("p"))
    good = lines.assign(verdict="good")
    assert findings.verdict(good) == ("good", f"The chains have converged: all {len(lines)} checks are good.")
    assert findings.verdict(good.assign(verdict=["good", "fair", *["unknown"] * (len(good) - 2)]))[0] == "fair"


def test_what_was_judged_by_the_energy_alone_has_not_converged():
    """It cannot tell one mode from another, as the next paragraph says."""
    good = tx.diagnostics.verdicts(made("sample")).assign(verdict="good")
    energy = good[~good["check"].str.startswith("R-hat of f")]
    level, sentence = findings.verdict(energy)
    assert level == "unknown" and "of the energy alone" in sentence and "converged" not in sentence


CUTS = {
    "one temperature": ("sample", lambda tree: tree.sel(temperature=1.0)),
    "one chain": ("ladder", lambda tree: tree.isel(chain=0)),
    "one draw": ("sample", lambda tree: tree.isel(draw=0)),
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_result_of_which_one_was_taken_has_a_page(cut):
    kind, take = CUTS[cut]
    tree = take(made(kind))
    tree.attrs = made(kind).attrs
    Page(render(tree))


def test_a_page_without_the_targets_rung_names_the_temperature_of_its_scores():
    cut = made("sample").isel(temperature=[1])
    cut.attrs = made("sample").attrs
    text = render(cut)
    assert "At T = 0.7 (of the target, T = 1, no scores were kept), the RMSE" in text
    assert "At the target temperature" not in text and "At the target temperature, the RMSE" in text_of("sample")


def test_ends_of_annealing_are_no_optima():
    stats = xr.Dataset({"lp": (("chain", "draw"), [[-3.0], [-2.0]])})
    for temperature, said in ((0.1, "2 ends of annealed chains at T = 0.1"), (0.0, "2 optima, and no draws")):
        posterior = xr.Dataset({"theta": (("chain", "draw"), [[0.0], [1.0]])}, attrs={"temperature": temperature})
        tree = xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats})
        tree.attrs["function"] = "anneal"
        assert said in findings.of_optima(tree)[1]


VALUES = [
    {"a": [1, 2.5, float("inf"), None, "it's"]},
    tx.priors.StudentT(df=3.0, scale=2.0),
    tx.likelihoods.Gaussian(0.3),
    tx.NUTS(),
    dist.Normal(np.zeros(3), 2.0),
    (np.arange(3.0), 1),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_settings_are_python(value):
    """What stands on the page makes the same thing again."""
    text = calls.as_python(notation.encode(value))
    again = eval(text, {"tx": tx, "np": np, "dist": dist})  # noqa: S307
    assert notation.encode(again) == notation.encode(value)


def test_the_call_makes_the_same_draws():
    tree, found = made("sample"), {"data": data()}
    text = calls.call(tree)
    exec(text.replace("num_draws=", "progress=False, num_draws="), found)  # noqa: S102
    for name, values in tree["posterior"].data_vars.items():
        np.testing.assert_array_equal(values, found["tree"]["posterior"][name])


def test_of_many_parameters_the_worst_are_named():
    tree = made("ladder").copy()
    draws = np.random.default_rng(0).normal(size=(2, 64, 300))
    draws[1, :, 17] += 5.0
    draws[1, :, 40] += 3.0
    tree["posterior"] = tree["posterior"].to_dataset().assign(many=(("chain", "draw", "which"), draws))
    (table,) = findings.parameters(tree).blocks
    assert len(table.rows) == findings.MOST_PARAMETERS and ["many[17]", "many[40]"] == [r[0] for r in table.rows[:2]]


def test_weights_of_no_network_are_among_its_parameters():
    """Whatever they are called: only the noise has a meaning of its own."""
    tree = made("sample").copy()
    posterior = tree["posterior"].to_dataset()
    tree["posterior"] = posterior.rename({name: name.replace("layer", "Dense") for name in posterior})
    (table,) = findings.parameters(tree).blocks
    assert {row[0].split("[")[0] for row in table.rows} == {"noise_scale"}


def test_of_several_targets_the_picture_says_that_it_is_of_the_first():
    x = np.random.default_rng(0).normal(size=(20, 2))
    two = tx.Dataset.from_arrays(x[:15], x[:15], x[15:], x[15:])
    tree = tx.sample(KEY, tx.Energy.mlp(two, ()), num_chains=2, num_warmup=20, num_draws=20, progress=False)
    assert "Of the 2 targets the first is drawn, y0." in render(tree)
    assert tx.plots.predictions(tree).get_xlabel() == "held-out target, the first of 2"


def test_a_report_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["temperax.pages.report"], "render", lambda *_, **__: "</html>")
    file = tx.report(made("ladder"), tmp_path / "out.html")
    assert file.read_text().endswith("</html>") and [p.name for p in tmp_path.iterdir()] == ["out.html"]
    with pytest.raises(tx.InputError, match="path = .* cannot be written"):
        tx.report(made("ladder"), tmp_path / "nowhere" / "out.html")
    with pytest.raises(tx.InputError, match="tree = 'dict'"):
        tx.report({}, tmp_path / "out.html")


def test_flow_of_replicas_that_march():
    """Two replicas that trade places, and one that never leaves the middle: it has seen no end and is not counted."""
    tree = made("ladder").copy()
    replica = np.tile([[0, 2, 1], [1, 2, 0]], (5, 1))[None]
    group = {"replica": (("chain", "draw", "temperature"), replica)}
    coords = {"temperature": [np.inf, 2.0, 1.0], "pair": [0, 1]}
    tree["exchange"] = xr.DataTree(xr.Dataset(group, coords=coords))
    flow = tx.diagnostics.flow(tree).to_numpy()
    assert flow[0] == 1.0 and np.isnan(flow[1]) and flow[2] == 0.0
