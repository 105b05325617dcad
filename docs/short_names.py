"""A name in a docstring, such as `Affine`, is linked to its page, whichever module the docstring is in."""

from sphinx.util.nodes import make_refnode

ROOMS = ("xpnet", "xpnet.nn")


def find(app, env, node, contnode):
    """Find the page of a public name that Sphinx does not find from the module of the docstring."""
    if node["refdomain"] != "py":
        return None
    objects = env.domains.python_domain.objects
    for room in ROOMS:
        if entry := objects.get(f"{room}.{node['reftarget']}"):
            return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode)
    return None


def setup(app):
    app.connect("missing-reference", find)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
