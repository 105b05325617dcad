"""The contenders of `contenders.py` on a GPU. None falls back to a CPU: without a GPU it cannot be built."""

import numpy as np
from contenders import Contender, Jax, JaxScan, Torch, Xpnet, threads


class OnCupy:
    backend, device = "cupy", "cuda"

    def wait(self):
        import cupy

        cupy.cuda.Device().synchronize()


class OnCuda:
    backend, device = "torch", "cuda"

    def build(self):
        threads("torch").zeros(1, device=self.device)  # says what is wrong, where there is no GPU
        super().build()

    def wait(self):
        import torch

        torch.cuda.synchronize()


class OnJaxGpu:
    backend, device = "jax", "gpu"

    def wait(self):
        import jax

        jax.block_until_ready(self.carry if isinstance(self, Xpnet) else self.now)


class XpnetCupy(OnCupy, Xpnet):
    pass


class XpnetTorchCuda(OnCuda, Xpnet):
    pass


class XpnetJaxGpu(OnJaxGpu, Xpnet):
    pass


class TorchCuda(OnCuda, Torch):
    pass


class TorchCudaGraph(TorchCuda):
    """PyTorch, the whole step in one CUDA graph: the rows of the batch, forward, loss, backward and update."""

    def build(self):
        super().build()
        self.index = self.torch.zeros(self.batch, dtype=self.torch.int64, device=self.device)
        params = list(self.model.parameters())
        before = [p.detach().clone() for p in params]
        self.replay, self.now = self.capture()
        with self.torch.no_grad():  # capturing trains, to warm up
            for p, old in zip(params, before, strict=True):
                p.copy_(old)

    def step(self):
        x, t = self.data
        loss = self.loss(x[self.index], t[self.index])
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def capture(self):
        return captured(self.step, self.optimizer)

    def steps(self, order):
        losses = self.torch.empty(len(order), device=self.device)
        for i, index in enumerate(self.torch.tensor(order, device=self.device)):
            self.index.copy_(index)
            self.replay()
            losses[i] = self.now
        return losses.cpu().numpy()


def captured(step, optimizer):
    """What replays `step` as a CUDA graph, and its result, which a replay writes anew.

    As PyTorch's documentation asks, it is called a few times before, on a stream of its own.
    """
    import torch

    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            optimizer.zero_grad()
            step()
    torch.cuda.current_stream().wait_stream(stream)
    optimizer.zero_grad()  # its gradients are made in the graph's own memory
    with torch.cuda.graph(graph):
        result = step()
    return graph.replay, result


class JaxGpu(OnJaxGpu, Jax):
    pass


class JaxGpuScan(OnJaxGpu, JaxScan):
    pass


class CupyInPlace(OnCupy, Contender):
    """`twins.InPlaceCupy`."""

    def build(self):
        import cupy
        from twins import InPlaceCupy

        self.xp, eye = cupy, np.eye(10, dtype="float32")
        self.data, self.test = ((cupy.asarray(x), cupy.asarray(eye[t])) for x, t in (self.raw, self.raw_test))
        params = [cupy.asarray(self.params[name]) for name in ("W1", "b1", "W2", "b2")]
        self.twin = InPlaceCupy(params, self.data, self.batch)

    def steps(self, order):
        return self.xp.stack([self.twin.step(index) for index in self.xp.asarray(order)]).get()

    def accuracies(self):
        xp, (W1, b1, W2, b2) = self.xp, self.twin.params

        def accuracy(x, t):
            scores = xp.maximum(x / np.float32(255) @ W1 + b1, 0) @ W2 + b2
            return float((scores.argmax(axis=1) == t.argmax(axis=1)).mean())

        return [accuracy(x, t) for x, t in (self.data, self.test)]


class CupyFloor(OnCupy, Contender):
    """No training: one gather of the batch and the two large products, in CuPy float32."""

    def build(self):
        import cupy

        (x, _), _ = self.floats()
        self.xp, self.x, self.W = cupy, cupy.asarray(x), cupy.asarray(self.params["W1"])

    def first_losses(self, order):
        return None

    def steps(self, order):
        for index in self.xp.asarray(order):
            x = self.x.take(index, axis=0)
            h = x @ self.W
            x.T @ h
        return np.zeros(len(order))


CONTENDERS = {
    "xpnet, CuPy": XpnetCupy,
    "xpnet, PyTorch CUDA": XpnetTorchCuda,
    "xpnet, JAX GPU": XpnetJaxGpu,
    "PyTorch CUDA": TorchCuda,
    "PyTorch CUDA graph": TorchCudaGraph,
    "JAX GPU, jit per step": JaxGpu,
    "JAX GPU, lax.scan": JaxGpuScan,
    "CuPy by hand, in place": CupyInPlace,
    "floor, CuPy": CupyFloor,
}
