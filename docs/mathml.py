"""Formulas as MathML, made while the site is built: browsers show it without a script or a network."""

import re

from docutils.nodes import SkipNode
from latex2mathml.converter import convert


def mathml(node, **options):
    """The formula of a node, with a thin space behind names of functions, which the converter leaves out."""
    return re.sub(r"(<mi>[a-z]{3,4}</mi>)", r'\1<mspace width="0.17em" />', convert(node.astext(), **options))


def inline(writer, node):
    """Write a formula within a line."""
    writer.body.append(f'<span class="math">{mathml(node)}</span>')
    raise SkipNode


def block(writer, node):
    """Write a formula on a line of its own."""
    writer.body.append(f'<div class="math">{mathml(node, display="block")}</div>\n')
    raise SkipNode


def setup(app):
    """Offer the renderer to Sphinx."""
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
