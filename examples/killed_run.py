"""A run that is killed and resumed
===================================

Training is killed three times and resumed. The result is that of a run without interruption.

Another process trains with a checkpoint, and is killed soon after it has saved the checkpoint. The last run resumes
from the checkpoint and goes to the end. Its losses and weights are those of a run that was never killed, bit for bit.
(Needs safetensors: the extra `checkpoints`.)
"""

# sphinx_gallery_thumbnail_path = "thumbnails/killed_run.svg"
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import xpnet

with TemporaryDirectory() as folder:
    checkpoint = Path(folder) / "run.safetensors"
    command = [sys.executable, "-m", "xpnet", "train", "--epochs", "5", "--checkpoint", str(checkpoint), "--resume"]
    for _ in range(3):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        with subprocess.Popen([*command, "--quiet"]) as process:
            while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
                time.sleep(0.01)
            time.sleep(0.2)  # it is in the next epoch, which is lost
            process.kill()
        accuracy = xpnet.evaluate(xpnet.load_network(checkpoint), *xpnet.load_mnist()[1]).accuracy
        print(f"killed; the network in the checkpoint has a test accuracy of {accuracy:.4f}")
    resumed = xpnet.train(epochs=5, checkpoint=checkpoint, resume=True)

whole = xpnet.train(epochs=5, progress=False)
print(f"never killed: test accuracy {whole.history.test_accuracy[-1]:.4f}")

assert resumed.history.loss == whole.history.loss
assert all(np.array_equal(resumed.network.params[name], p) for name, p in whole.network.params.items())
print("the same losses and weights, bit for bit")
