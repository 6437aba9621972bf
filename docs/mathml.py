"""Formulas as MathML, made while the site is built: browsers show it without a script or a network."""

from docutils.nodes import SkipNode
from latex2mathml.converter import convert


def inline(writer, node):
    """Write a formula within a line."""
    writer.body.append(f'<span class="math">{convert(node.astext())}</span>')
    raise SkipNode


def block(writer, node):
    """Write a formula on a line of its own."""
    writer.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>\n')
    raise SkipNode


def setup(app):
    """Offer the renderer to Sphinx."""
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
