"""What is installed here, and what sees a GPU: `python gpu_machine.py` and `python gpu_machine.py cupy`, in JSON.

Each library is asked in a process of its own, as a broken one may end its process.
"""

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys

DISTRIBUTIONS = """xpnet numpy array-api-compat tqdm cupy-cuda12x cupy-cuda13x torch triton jax jaxlib
jax-cuda12-plugin jax-cuda13-plugin nvidia-cublas nvidia-cudnn-cu13 pytest pytest-xdist hypothesis scikit-learn
safetensors onnx optax array-api-strict""".split()
MODULES = "numpy array_api_compat tqdm pytest xdist hypothesis sklearn safetensors onnx".split()


def dotted(version):
    """CUDA's 13020 is 13.2."""
    return f"{version // 1000}.{version % 1000 // 10}"


def cupy():
    import cupy

    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(0)
    works(cupy.ones((64, 64), dtype="float32"))
    return {
        "version": cupy.__version__,
        "device": properties["name"].decode(),
        "memory": properties["totalGlobalMem"],
        "capability": f"{properties['major']}.{properties['minor']}",
        "CUDA": dotted(runtime.runtimeGetVersion()),
        "CUDA of the driver": dotted(runtime.driverGetVersion()),
    }


def torch():
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError(f"PyTorch {torch.__version__} sees no GPU")
    works(torch.ones((64, 64), device="cuda"))
    properties = torch.cuda.get_device_properties(0)
    return {
        "version": torch.__version__,
        "device": properties.name,
        "memory": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
        "CUDA": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version(),
    }


def jax():
    import jax

    device = jax.devices("gpu")[0]
    works(jax.device_put(jax.numpy.ones((64, 64)), device))
    return {"version": jax.__version__, "device": device.device_kind, "platform": device.client.platform_version}


def works(ones):
    """A kernel and a product are run, as a library may see a GPU that it cannot use."""
    if float((ones @ ones + 1).sum()) != 64 * 64 * 65:
        raise RuntimeError("the sum over a product is wrong")


LIBRARIES = {"cupy": cupy, "torch": torch, "jax": jax}


def machine():
    """The driver, the system, and the versions of what is installed."""
    versions = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    driver, python = "", f"Python {platform.python_version()}"
    if shutil.which("nvidia-smi"):
        ask = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        driver = subprocess.run(ask, capture_output=True, text=True, timeout=60).stdout.strip()
    return {
        "driver": driver,
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {python}",
        "versions": versions,
        "modules": [name for name in MODULES if importlib.util.find_spec(name)],
    }


def asked(question, environment, timeout=120):
    """The answer of such a process, run with this environment; {"problem": ...} where it has none."""
    try:
        done = subprocess.run(
            [sys.executable, __file__, *question], env=environment, capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return {"problem": f"no answer within {timeout} s"}
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines else {"problem": f"its process ended with status {done.returncode}"}


if __name__ == "__main__":
    try:
        found = LIBRARIES[sys.argv[1]]() if sys.argv[1:] else machine()
    except Exception as error:  # whatever a broken installation or a missing driver raises
        found = {"problem": " ".join(f"{type(error).__name__}: {error}".split())}
    print(json.dumps(found))
