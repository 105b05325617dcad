"""``python -m xpnet`` and the command ``xpnet``."""

import signal
import sys


def main() -> int:
    """Run the command line. Ctrl-C while modules are imported ends the process at once, without a traceback."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # it may be ignored, in the background of a script
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .cli import main

    signal.signal(signal.SIGINT, before)
    try:
        return main()
    except KeyboardInterrupt:  # before the command runs, or after it
        return 130


if __name__ == "__main__":
    sys.exit(main())
