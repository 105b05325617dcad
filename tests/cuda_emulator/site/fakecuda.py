"""What the emulated CUDA machine is asked to do.

with fakecuda.record() as log:  # a list of (kind, size, name, where)
    ...
fakecuda.table(log)

The kinds are launch, blas, memset, stream sync, device sync, event sync, event record, wait event, malloc, free, host
alloc, compile, and of copies H2D, D2H and D2D, with H2D(blocking) and D2H(pageable) for those that the host waits
for. The size is in bytes; of a launch it is the elements of its largest array, of blas twice the multiplications.
Where is the line of the project that asked for it: the innermost in a file of xpnet's checkout, of its package where
it is installed without one, or of the current folder where there is no xpnet.
"""

import collections
import contextlib
import ctypes
import importlib.util
import os
import sys
from pathlib import Path

_LIBRARY = ctypes.CDLL(str(Path(__file__).resolve().parents[1] / "cuda/lib64/libcuda.so.1"))
_LISTENER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p)
_listener = ctypes.c_void_p.in_dll(_LIBRARY, "fk_listener")
_LIBRARY.fk_event.argtypes = [ctypes.c_int, ctypes.c_size_t, ctypes.c_char_p]
_LAUNCH = 0


def note_sort(name, size):
    """Count a sort of replaced/thrust.py as one launch, and wait for the stream as Thrust does."""
    _LIBRARY.fk_event(_LAUNCH, size, name.encode())
    _LIBRARY.cudaStreamSynchronize(None)


def _root():
    spec = importlib.util.find_spec("xpnet")
    package = Path(spec.origin).parent if spec else Path.cwd()
    return os.path.join(package.parent if (package.parent / "pyproject.toml").exists() else package, "")


def _where(root, depth):
    frame, found = sys._getframe(2), []
    while frame is not None and len(found) < depth:
        name = frame.f_code.co_filename
        if name.startswith(root):
            found.append(f"{name[len(root) :]}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return " < ".join(found) or "?"


@contextlib.contextmanager
def record(depth=1):
    """A list of all that happens; `where` has up to `depth` lines of the project, the innermost first.

    For a process in which one thread uses CuPy: several could wait for each other.
    """
    log, root = [], _root()

    @_LISTENER
    def note(kind, size, name):
        log.append((kind.decode(), size, (name or b"").decode(), _where(root, depth)))

    _listener.value = ctypes.cast(note, ctypes.c_void_p).value
    try:
        yield log
    finally:
        _listener.value = None


def totals(log):
    """How often each kind is in a log, and the sum of its sizes."""
    found = {}
    for kind, size, *_ in log:
        count, sizes = found.get(kind, (0, 0))
        found[kind] = count + 1, sizes + size
    return found


def table(log, kinds=None):
    """Print a log by line of the project: how often, kind, sizes, name, where."""
    counts, sizes = collections.Counter(), collections.Counter()
    for kind, size, name, where in log:
        if kinds is None or kind in kinds:
            counts[where, kind, name] += 1
            sizes[where, kind, name] += size
    for key, count in sorted(counts.items()):
        where, kind, name = key
        print(f"{count:5d}  {kind:<14} {sizes[key]:>10}  {name:<46} {where}")
