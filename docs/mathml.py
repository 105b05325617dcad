"""Formulas as MathML, which browsers draw by themselves: the site needs no network, and no script, to show them."""

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml


def mathml(tex, as_block):
    if re.search(r"\\frac\s*[^{\s]", tex):  # of \frac12 docutils would make a fraction of 12 and what follows
        raise ValueError(f"{tex}: write both parts of a fraction in braces, such as \\frac{{1}}{{2}}")
    return tex2mathml(tex, as_block=as_block)


def inline(translator, node):
    translator.body.append(mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def block(translator, node):
    translator.body.append(f'<div class="math">{mathml(node.astext(), as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
