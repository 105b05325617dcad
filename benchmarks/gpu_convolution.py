"""The contenders of `convolution.py` on a GPU, each for one of its titles."""

import os
import time

import convolution
import numpy as np
from gpu_contenders import captured

import xpnet


class OnGpu:
    """What the harness asks of a contender in a process of its own."""

    device = "cuda"

    def __init__(self, title):
        super().__init__(int(os.environ["OMP_NUM_THREADS"]))
        self.title, self.once = title, self.prepare(title)

    def check(self):
        """Compare a layer's forward pass with xpnet's on NumPy."""
        if self.title not in convolution.SHAPES:
            return
        host, shape = convolution.Ours(1), convolution.SHAPES[self.title]
        expected = host.convolution(*host.arrays(*shape))[0]
        self.rng = np.random.default_rng(0)  # the same numbers
        found = self.convolution(*self.arrays(*shape))
        found = found.detach() if self.backend == "torch" and not isinstance(found, tuple) else found[0]
        np.testing.assert_allclose(xpnet.to_numpy(found), expected, rtol=1e-3, atol=1e-3)

    def time_steps(self, count):
        """Seconds for `count` calls; the device is idle before the first and has done the last."""
        self.wait(self.once())
        start = time.perf_counter()
        for _ in range(count):
            result = self.once()
        self.wait(result)
        return time.perf_counter() - start


class OnCuda(OnGpu):
    def wait(self, result):
        import torch

        torch.cuda.synchronize()


class XpnetCupy(OnGpu, convolution.Ours):
    backend = "cupy"

    def wait(self, result):
        self.where.synchronize()


class XpnetTorchCuda(OnCuda, convolution.OursTorch):
    pass


class XpnetJaxGpu(OnGpu, convolution.OursJax):
    device = "gpu"


class TorchCuda(OnCuda, convolution.Torch):
    pass


class TorchCudaGraph(TorchCuda):
    """Of a step alone: a layer is too little for a graph."""

    def repeated(self, step, optimizer):
        replay, loss = captured(step, optimizer)

        def once():
            replay()
            return loss

        return once


class JaxGpu(OnGpu, convolution.Jax):
    device = "gpu"


CONTENDERS = {
    "xpnet, CuPy": XpnetCupy,
    "xpnet, PyTorch CUDA": XpnetTorchCuda,
    "xpnet, JAX GPU": XpnetJaxGpu,
    "PyTorch CUDA": TorchCuda,
    "PyTorch CUDA graph": TorchCudaGraph,
    "JAX GPU": JaxGpu,
}
