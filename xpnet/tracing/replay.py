"""Run a function as NumPy code that was made from a trace."""

from collections.abc import Callable, Hashable
from typing import Any, cast

import numpy as np

from .._typing import Array
from .numpy_code import NumpyCode
from .program import Program, Var, is_array, leaves, replaced, signature_of

__all__ = ["Replay"]


class Replay:
    """A pure function of NumPy arrays, traced for each combination of shapes and then replayed.

    Where the function cannot be traced, it is called.

    Parameters
    ----------
    function : callable
    trace : callable
        ``trace(function, *args)`` returns the `Program`, or raises an error.
    """

    def __init__(self, function: Callable[..., Any], trace: Callable[..., Program]) -> None:
        self.function, self.trace = function, trace
        self.pool = list[Array]()
        self.made = dict[Hashable, Callable[..., Any]]()

    def __call__(self, *args: Any) -> Any:
        """Return what the function returns."""
        key = signature_of(args)
        try:
            run = self.made[key]
        except KeyError:
            code = self.code(args)
            run = self.made[key] = code.make() if code else self.function
        return run(*args)

    def code(self, args: tuple[Any, ...], slots: Callable[[Any], Any] = lambda outputs: ()) -> NumpyCode | None:
        """The code for these arguments; None if the function cannot be traced.

        ``slots(outputs)`` picks the results that get arrays of their own.
        """
        try:
            program = self.trace(self.function, *args)
        except Exception:  # calling the function shows its own errors
            return None
        chosen = [leaf for leaf in leaves(slots(program.outputs)) if isinstance(leaf, Var)]
        return NumpyCode(program, chosen, self.pool)

    def steps(self, *args: Any) -> "Steps":
        """The function as a step ``step(carry, ...) -> carry, loss``, for arguments like these."""
        key = signature_of(args)
        if key not in self.made:
            self.made[key] = Steps(self.code(args, lambda outputs: outputs[0]), self.function)
        return cast(Steps, self.made[key])


class Steps:
    """A step that is repeated: the arrays of one carry are read while the arrays of the other are written.

    So a carry is valid until the update after the next begins, and an interrupted update changes nothing.
    """

    def __init__(self, code: NumpyCode | None, function: Callable[..., Any]) -> None:
        self.pair = [code.make([np.empty(v.shape, v.dtype) for v in code.slots]) if code else function for _ in "ab"]
        self.reuses = code is not None
        self.count = 0

    def __call__(self, *args: Any) -> Any:
        """Return the next carry and the loss."""
        self.count += 1
        return self.pair[self.count % 2](*args)


def copied(tree: Any) -> Any:
    """The same nested structure with copies of the arrays."""
    return replaced(tree, lambda leaf: leaf.copy() if is_array(leaf) else leaf)
