"""Run a function as NumPy code that was made from a trace."""

from collections.abc import Callable, Hashable
from typing import Any

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
        self.pairs = dict[Hashable, list[Callable[..., Any]]]()

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

    def steps(self, *args: Any) -> "list[Callable[..., Any]]":
        """Two forms of a step ``step(carry, ...) -> carry, loss``, for arguments like these, to be called in turn.

        Each form has its own arrays for the new carry. So an interrupted update changes nothing, and a carry is valid
        until the update after the next begins.
        """
        key = signature_of(args)
        if key not in self.pairs:
            code = self.code(args, lambda outputs: outputs[0])
            self.pairs[key] = [code.make(code.arrays()) if code else self.function for _ in range(2)]
        return self.pairs[key]


def copied(tree: Any) -> Any:
    """The same nested structure with copies of the arrays."""
    return replaced(tree, lambda leaf: leaf.copy() if is_array(leaf) else leaf)
