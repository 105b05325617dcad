"""Backends that trace xpnet's own functions, and run them as generated code."""

from collections.abc import Callable, Iterator
from typing import Any

from .._typing import Array
from ..tracing import Code, Program, Replay, TracingError, trace
from ..tracing.program import is_array, leaves, replaced
from .base import Backend, Draw, HostArray, keep_freed_memory
from .recording import Recording, type_of

__all__ = ["Replaying"]


class Replaying(Backend):
    """A backend that traces functions and runs the recorded operations as generated code.

    Attributes
    ----------
    code : type
        The subclass of `tracing.Code` for this library.
    """

    code: type[Code]

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, traced and then replayed if it is known."""
        return Replay(function, self._trace, self.code) if getattr(function, "known", False) else function

    def compile_on_rows(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The function of `on_rows`, traced and then replayed if the step is known."""
        known = getattr(step, "known", False)
        return Replay(Recording(self).on_rows(step), self._trace, self.code) if known else self.on_rows(step)

    def release(self, function: Callable[..., Any]) -> None:
        """Free the memory that a compiled function keeps for its next call."""
        if isinstance(function, Replay):
            function.release()

    def repeat(self, step: Callable[..., Any]) -> Callable[..., Iterator[tuple[Any, Array]]]:
        """Many steps, one after the other. A known step is traced and then replayed."""
        if not getattr(step, "known", False):
            return super().repeat(step)
        replay = Replay(Recording(self).on_rows(step), self._trace, self.code)
        keep_freed_memory()

        def run(carry: Any, data: Any, index: HostArray, draw: Draw | None = None) -> Iterator[tuple[Any, Array]]:
            index, (count, size) = self.index(index, data[0]), index.shape
            for i, masks in enumerate(self.masks(draw, count, size, data[0])):
                if i == 0:
                    steps = replay.steps(count, carry, data, index[i, ...], masks)
                carry, loss = steps[i % 2](carry, data, index[i, ...], masks)
                if i == count - 1:
                    carry = replaced(carry, lambda leaf: self.code.copied(leaf) if is_array(leaf) else leaf)
                yield carry, loss

        return run

    def _trace(self, function: Callable[..., Any], *args: Any) -> Program:
        """Trace a function of arrays on the CPU."""
        if not all(self.can_read(leaf) for leaf in leaves(args) if is_array(leaf)):
            raise TracingError("the arrays are not on the CPU")
        kind = type_of(self.namespace(), self)
        return trace(function, *args, kind=lambda x: kind, shares_memory=self.shares_memory)
