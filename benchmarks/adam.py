"""How long does a training step with Adam take? 784-50-10, mini-batches of 100, float32, a learning rate of 0.001.

A step includes drawing its mini-batch and recording its loss. PyTorch has three forms of the update: a loop over the
parameters (its default on a CPU), one operation for all parameters (foreach), and one kernel (fused).
"""

import contenders
import numpy as np
from harness import arguments, bars, close, compare, in_turn, not_run, report, start

import xpnet

LR = 0.001
LIMITS = [("xpnet, NumPy", f"PyTorch, {form}", 0.6) for form in ("plain", "foreach", "fused")]


class Adam:
    """What the float64 training by hand does, and the check with it."""

    def by_hand(self):
        m, v, step = [0.0] * 4, [0.0] * 4, 0

        def change(gradients):
            nonlocal m, v, step
            step += 1
            m = [0.9 * a + 0.1 * g for a, g in zip(m, gradients, strict=True)]
            v = [0.999 * a + 0.001 * g * g for a, g in zip(v, gradients, strict=True)]
            return [
                LR * a / (1 - 0.9**step) / (np.sqrt(b / (1 - 0.999**step)) + 1e-8) for a, b in zip(m, v, strict=True)
            ]

        return change


class OfXpnet(Adam):
    def optimizer(self):
        return xpnet.Adam(LR)


class Xpnet(OfXpnet, contenders.Xpnet):
    pass


class XpnetTorch(OfXpnet, contenders.XpnetTorch):
    pass


class XpnetJax(OfXpnet, contenders.XpnetJax):
    pass


class Torch(Adam, contenders.Torch):
    form = {"foreach": False, "fused": False}

    def optimizer_of(self, optim, params):
        return optim.Adam(params, lr=LR, **self.form)


class TorchForeach(Torch):
    form = {"foreach": True}


class TorchFused(Torch):
    form = {"fused": True}


class OfOptax(Adam):
    """JAX with optax."""

    def started(self, params):
        import optax

        self.apply, self.optimizer = optax.apply_updates, optax.adam(LR)
        return params, self.optimizer.init(params)

    def updated(self, now, gradient):
        params, memory = now
        change, memory = self.optimizer.update(gradient, memory)
        return self.apply(params, change), memory


class Jax(OfOptax, contenders.Jax):
    pass


class JaxScan(OfOptax, contenders.JaxScan):
    pass


CONTENDERS = {
    "xpnet, NumPy": Xpnet,
    "xpnet, PyTorch": XpnetTorch,
    "xpnet, JAX": XpnetJax,
    "PyTorch, plain": Torch,
    "PyTorch, foreach": TorchForeach,
    "PyTorch, fused": TorchFused,
    "JAX with optax, jit per step": Jax,
    "JAX with optax, lax.scan": JaxScan,
}


def main():
    rounds = arguments(__doc__).rounds or 15
    workers, absent = start(CONTENDERS, 1, module="adam")
    times = {n: [t / 600 for t in ts] for n, ts in in_turn(workers, rounds, "steps", count=600).items()}
    close(workers)
    report(
        "adam",
        "A training step with Adam",
        __doc__.partition("\n")[2].strip(),
        "## Bars\n\n" + bars(times, LIMITS),
        f"## A step, one thread, {rounds} rounds",
        compare(times, "µs", 1e6),
        *not_run(absent),
    )


if __name__ == "__main__":
    main()
