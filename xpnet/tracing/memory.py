"""Places in one block of memory for buffers that are needed at different times."""

from dataclasses import dataclass

__all__ = ["Buffer", "place"]

ALIGNMENT = 64
"""The bytes of a cache line."""


@dataclass(eq=False)
class Buffer:
    """A part of a block of memory.

    Attributes
    ----------
    nbytes : int
        Its size.
    start, end : int
        The numbers of the first and of the last operation that use it.
    offset : int
        Its place in the block.
    """

    nbytes: int
    start: int
    end: int
    offset: int = 0


def place(buffers: list[Buffer]) -> int:
    """Set the offsets of buffers, and return the size of the block.

    Buffers that are needed at the same time do not overlap. The largest buffers are placed first, each at the lowest
    free place.

    Examples
    --------
    >>> buffers = [Buffer(64, 0, 1), Buffer(128, 1, 2), Buffer(64, 2, 3)]
    >>> place(buffers), [buffer.offset for buffer in buffers]
    (192, [128, 0, 128])
    """
    placed, size = list[Buffer](), 0
    for buffer in sorted(dict.fromkeys(buffers), key=lambda b: -b.nbytes):
        offset = 0
        for other in placed:  # in the order of their places
            if other.start <= buffer.end and buffer.start <= other.end:
                if offset + buffer.nbytes <= other.offset:
                    break
                offset = max(offset, -(-(other.offset + other.nbytes) // ALIGNMENT) * ALIGNMENT)
        buffer.offset = offset
        placed.append(buffer)
        placed.sort(key=lambda b: b.offset)
        size = max(size, offset + buffer.nbytes)
    return size
