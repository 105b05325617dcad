"""``python -m xpnet`` is the command ``xpnet``."""

import sys

from .cli import main

sys.exit(main())
