"""Python runs this when it starts with this folder on PYTHONPATH: CuPy then gets three modules from `replaced`.

CuPy may be installed anywhere, and nothing is written there. See README.md beside `build`.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
VERSION = "@CUPY_VERSION@"  # filled in by `build`
REPLACED = {"cupy_backends.cuda.api.runtime", "cupy.cuda.cub", "cupy.cuda.thrust"}


class Replacements:
    """The finder of these modules, ahead of those of Python."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in REPLACED:
            return None
        from importlib.machinery import EXTENSION_SUFFIXES
        from importlib.util import spec_from_file_location

        top, short = path[0], name.rpartition(".")[2]
        for _ in range(name.count(".")):
            top = os.path.dirname(top)
        with open(os.path.join(top, "cupy", "_version.py"), encoding="utf-8") as file:
            if f"'{VERSION}'" not in file.read():
                raise ImportError(f"the CUDA emulator is for CuPy {VERSION}, and {top} has another")
        # The full suffix alone, such as .cpython-311-x86_64-linux-gnu.so: what is there may be for other Pythons.
        for file in (f"{short}.py", short + EXTENSION_SUFFIXES[0]):
            if os.path.exists(found := os.path.join(HERE, "replaced", file)):
                return spec_from_file_location(name, found)
        raise ImportError(f"the CUDA emulator was not built for this Python: run `build {sys.executable}`")


def run_hidden():
    """Run the sitecustomize that this one hides: Python itself runs only the first on its path."""
    for folder in sys.path:
        file = os.path.join(folder, "sitecustomize.py")
        if os.path.abspath(folder) != HERE and os.path.isfile(file):
            with open(file, encoding="utf-8") as text:
                code = compile(text.read(), file, "exec")
            exec(code, {"__name__": "sitecustomize", "__file__": file})
            return


sys.meta_path.insert(0, Replacements)
run_hidden()
