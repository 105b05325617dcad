"""Run a function as code, which is generated from its trace."""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

from .code import Code
from .program import Program, Var, leaves, signature_of

__all__ = ["Replay"]


WARM = 32
"""The number of calls with the same shapes before a function is traced. A trace takes longer than a call."""


class Replay:
    """A pure function of arrays, traced for each combination of shapes and then replayed.

    The function itself is called in the first calls, and where it cannot be traced.

    Parameters
    ----------
    function : callable
    trace : callable
        ``trace(function, *args)`` returns the `Program`, or raises an error.
    code : type
        The subclass of `Code` for the library of the arrays.
    """

    def __init__(self, function: Callable[..., Any], trace: Callable[..., Program], code: type[Code]) -> None:
        self.function, self.trace, self.code = function, trace, code
        self.codes = dict[Hashable, Code | None]()
        self.made = dict[Hashable, list[Callable[..., Any]]]()
        self.memory = code.empty(0)
        self.calls = Counter[Hashable]()

    def __call__(self, *args: Any) -> Any:
        """Return what the function returns."""
        return self._functions(args, 1, lambda outputs: (), 1)[0](*args)

    def steps(self, calls: int, *args: Any) -> list[Callable[..., Any]]:
        """Return two forms of a step ``step(carry, ...) -> carry, loss``, which the caller uses in turn.

        `calls` is the number of calls to come with arguments of these shapes.

        Each form has its own arrays for the new carry. So an interrupted update changes nothing. A carry is valid
        during the next update; the update after that overwrites it.
        """
        return self._functions(args, 2, lambda outputs: outputs[0], calls)

    def release(self) -> None:
        """Free the memory; the next call allocates it again."""
        self.made.clear()
        self.memory = self.code.empty(0)

    def _functions(self, args: Any, count: int, slots: Callable[[Any], Any], calls: int) -> list[Callable[..., Any]]:
        """Functions for these arguments, each with its own arrays for the results that ``slots(outputs)`` picks."""
        key = signature_of(args)
        if key not in self.made:
            self.calls[key] += calls
            if self.calls[key] < WARM:
                return [self.function] * count
            if key not in self.codes:
                self.codes[key] = self._code(args, slots)
            code = self.codes[key]
            if code is None:
                return [self.function] * count
            if code.nbytes > self.memory.shape[0]:
                self.made.clear()  # functions that use smaller memory
                self.memory = self.code.empty(code.nbytes)
            self.made[key] = [code.make(self.memory, code.arrays()) for _ in range(count)]
        return self.made[key]

    def _code(self, args: Any, slots: Callable[[Any], Any]) -> Code | None:
        """The code for these arguments; None if the function cannot be traced."""
        try:
            program = self.trace(self.function, *args)
        except Exception:  # calling the function shows its own errors
            return None
        return self.code(program, [leaf for leaf in leaves(slots(program.outputs)) if isinstance(leaf, Var)])
