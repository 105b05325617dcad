"""A backend of another package. Its entry points are written by tests/test_added_backends.py."""

from xpnet.backends import Backend


class Lookalike(Backend):
    """The library `lookalike`, whose steps are counted."""

    install = "pip install lookalike-arrays"
    steps = 0

    def compile(self, function):
        def counted(*args):
            type(self).steps += 1
            return function(*args)

        return counted


ready = Backend("ready", "lookalike")
misnamed = Backend("other")
