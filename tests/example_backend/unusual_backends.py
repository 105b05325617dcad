"""Other objects that an entry point can name: a backend that is ready, and one of another name."""

from xpnet.backends import Backend

ready = Backend("ready", "lookalike")
misnamed = Backend("other")
