"""Pictures as a part of a page: SVG whose words are text, in the colours of the page's style."""

import re
from html import escape
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def as_svg(drawn: "Figure | Axes", name: str, alt: str) -> str:
    """A figure, or the one of its axes, as an SVG element of a page.

    Parameters
    ----------
    drawn
        Of `temperax.plots`.
    name
        A word of letters, which no other picture of the page has: its identifiers begin with it.
    alt
        What is seen, in words, for those who do not see it.

    Returns
    -------
    str
        Without fonts and without a background.  The page's style gives ``currentColor``, which stands for black, and
        the variables ``--c0``, ``--c1``, … for matplotlib's cycle of colours.
    """
    import matplotlib
    from matplotlib.colors import to_hex
    from matplotlib.figure import Figure

    figure = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    assert figure is not None  # axes of these pictures are in one
    written = StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    _, viewbox, body = re.split(r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>", written.getvalue(), maxsplit=1, flags=re.S)
    body = re.sub(r"<(metadata|style).*?</\1>|<!--.*?-->", "", body, flags=re.S)
    cycle = [to_hex(colour) for colour in matplotlib.rcParamsDefault["axes.prop_cycle"].by_key()["color"]]
    for colour, own in {"#000000": "currentColor", **{c: f"var(--c{n})" for n, c in enumerate(cycle)}}.items():
        body = body.replace(colour, own)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)  # the page's own
    # Hundredths of a point are enough for where things are drawn; the numbers that are read stay as they are.
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), body)
    body = re.sub(r" ?\n *", " ", body)
    return f'<svg viewBox="{viewbox}" role="img" aria-label="{escape(alt)}">{_apart(body, name)}'


def _apart(body: str, name: str) -> str:
    """Identifiers that are referred to under names of this picture alone, and no others."""
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", body))
    body = re.sub(r" id=\"([^\"]+)\"", lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", body)
    return re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", body)
