"""What does xpnet take? The memory of `xpnet train`, the time of its import, and what the progress bar costs.

Each figure is of a new process, in turn.
"""

import os
import pty
import statistics
import subprocess
import sys
import threading
import time

from harness import arguments, ratio, report, table

ONE = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
IMPORTS = {
    "import numpy": "import numpy",
    "import xpnet": "import xpnet",
    "import xpnet and a softmax": "import numpy, xpnet; xpnet.softmax(numpy.zeros(10))",
}
TRAIN = [sys.executable, "-m", "xpnet", "train", "--epochs", "3"]


def seconds_of(command):
    start = time.perf_counter()
    subprocess.run(command, env=ONE, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def in_terminal(command):
    """Seconds of a command whose output is a terminal."""
    ours, theirs = pty.openpty()
    drain = threading.Thread(target=lambda: read_all(ours), daemon=True)
    drain.start()
    start = time.perf_counter()
    subprocess.run(command, env=ONE, check=True, stdout=theirs, stderr=theirs)
    took = time.perf_counter() - start
    os.close(theirs)
    drain.join()
    return took


def read_all(terminal):
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:  # how Linux says that the other side is closed
        os.close(terminal)


def peak_megabytes(command):
    """The most memory that a command held at once."""
    process = subprocess.Popen(command, env=ONE, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{command} ended with status {status}")
    return usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def main():
    rounds = arguments(__doc__).rounds or 21
    imports = {name: [] for name in IMPORTS}
    for turn in range(rounds + 1):
        for name, code in IMPORTS.items():
            took = seconds_of([sys.executable, "-c", code])
            if turn:
                imports[name].append(took)
    rows = [
        [
            name,
            f"{1e3 * statistics.median(t):.0f}",
            "{:.2f} ({:.2f} to {:.2f})".format(*ratio(t, imports["import numpy"])),
        ]
        for name, t in imports.items()
    ]
    bar, quiet = [], []
    for _ in range(max(5, rounds // 3)):
        bar.append(in_terminal(TRAIN))
        quiet.append(in_terminal([*TRAIN, "--quiet"]))
    peaks = [peak_megabytes(TRAIN) for _ in range(3)]
    report(
        "footprint",
        "Memory, import and progress bar",
        __doc__.partition("\n")[2].strip(),
        "## Peak memory of `xpnet train`, NumPy (at most 250 MB)",
        f"{max(peaks):.0f} MB, the most of {len(peaks)} runs ({', '.join(f'{p:.0f}' for p in peaks)}).",
        f"## Import (of xpnet, at most 1.2 times that of NumPy), {rounds} rounds",
        table(["", "median, ms", "ratio to NumPy's (quartiles)"], rows),
        "## The progress bar",
        "Training for 3 epochs in a terminal with the bar, against the same with `--quiet`: "
        "{:.3f} ({:.3f} to {:.3f}).".format(*ratio(bar, quiet)),
    )


if __name__ == "__main__":
    main()
