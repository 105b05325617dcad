"""The playground: the directive that puts it into its page, and the files that the page loads.

xpnet's code runs on arrays of ndonnx, which record each operation. onnxruntime-web runs the recorded models.
"""

import base64
import gzip
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import ndonnx
import numpy as np
import onnx
from docutils import nodes
from onnx import helper
from sphinx.util.docutils import SphinxDirective

from xpnet import SGD, TwoLayerNet, load_mnist, log_softmax

HERE = Path(__file__).parent
RUNTIME, SHA512 = (
    "onnxruntime-web@1.30.0",
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
)
# The scripts of onnxruntime-web, and the compiled code that each of them loads. jspi and webgpu have WebGPU, and no
# float64; webgpu is for browsers without JavaScript Promise Integration.
PARTS = {
    "ort.wasm.min": "ort-wasm-simd-threaded",
    "ort.jspi.min": "ort-wasm-simd-threaded.jspi",
    "ort.webgpu.min": "ort-wasm-simd-threaded.asyncify",
}
ACTIVATIONS = ("relu", "sigmoid", "tanh")
IMAGES = 10_000, 1_000  # for training, for testing; page.html tells the numbers


class Missing(Exception):
    """The site is built without the playground; the message is the reason."""


def runtime(folder):
    """The package of onnxruntime-web in `folder`, fetched by npm if it is not there."""
    name, version = RUNTIME.split("@")
    package = Path(folder) / f"{name}-{version}.tgz"
    if not package.exists():
        if not (npm := shutil.which("npm")):
            raise Missing("npm is not installed")
        package.parent.mkdir(parents=True, exist_ok=True)
        run = subprocess.run(
            [npm, "pack", "--silent", "--pack-destination", str(package.parent), RUNTIME], capture_output=True
        )
        if run.returncode or not package.exists():
            raise Missing(f"npm could not fetch {RUNTIME}")
    if base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode() != SHA512:
        raise ValueError(f"{package} is not {RUNTIME}: its SHA-512 is another one; delete it and build again")
    return package


def build(package, folder):
    """Write all files of the page into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in (*HERE.glob("*.js"), *HERE.glob("*.css")):
        shutil.copy(source, folder)
    with tarfile.open(package) as archive:

        def content(name):
            return archive.extractfile(f"package/dist/{name}").read()

        for script, code in PARTS.items():
            for name in (f"{script}.mjs", f"{code}.mjs"):
                (folder / name).write_bytes(content(name))
            # Compressed here, because not every server compresses what it sends: 4 MB and not 14.
            (folder / f"{code}.bin").write_bytes(gzip.compress(content(f"{code}.wasm"), mtime=0))
    for activation in ACTIVATIONS:
        for trace in (step, forward, gradient):
            model = of_any_size(lambda batch, hidden, trace=trace, name=activation: trace(name, batch, hidden))
            (folder / f"{trace.__name__}-{activation}.onnx").write_bytes(model.SerializeToString())
    (folder / "digits.bin").write_bytes(digits())


def digits():
    """Compressed bytes: the number of training and of test images, the images of both, and the labels of both."""
    parts = zip(load_mnist(normalize=False), IMAGES, strict=True)
    images, labels = zip(*((x[:count], t[:count]) for (x, t), count in parts), strict=True)
    data = b"".join(np.asarray(array, dtype="uint8").tobytes() for array in (*images, *labels))
    return gzip.compress(np.asarray(IMAGES, dtype="<u4").tobytes() + data, mtime=0)


# The models. They take the parameters as inputs, so one file is enough for each activation.


def step(activation, batch, hidden):
    """One update, in float32: the mini-batch, the learning rate and the parameters, to the loss and new parameters.

    The weights of the samples are 1. They are an input, so that the batch size appears nowhere in the model.
    """
    net, params = network(activation, hidden, "float32")
    x, t, weight, lr = (argument("float32", *shape) for shape in ((batch, 784), (batch, 10), (batch,), ()))
    loss, gradients, _ = net.stack.loss_and_gradient(params, x, t, weight=weight)
    after = {f"{name}_next": SGD().rule(p, gradients[name], lr)[0] for name, p in params.items()}
    return ndonnx.build({"x": x, "t": t, "weight": weight, "lr": lr} | params, {"loss": loss} | after)


def forward(activation, batch, hidden):
    """The output of each layer, the probabilities and, for each label, the loss; in float64."""
    net, params = network(activation, hidden, "float64")
    x = y = argument("float64", batch, 784)
    outputs = {}
    for name, layer in zip(("affine1", "activation", "scores"), net.stack.layers(params).values(), strict=True):
        outputs[name] = y = layer.forward(y)
    outputs |= {"probabilities": net.stack.last.probabilities(y), "losses": -log_softmax(y)}
    return ndonnx.build({"x": x} | params, outputs)


def gradient(activation, batch, hidden):
    """The derivative of the loss with respect to each pixel of one image, by backpropagation in float64."""
    net, params = network(activation, hidden, "float64")
    x, t = argument("float64", 1, 784), argument("float64", 1, 10)
    layers, last = net.stack.layers(params), net.stack.loss_layer()
    y = x
    for layer in layers.values():
        y = layer.forward(y)
    last.forward(y, t)
    dx, _ = net.stack.backward(layers, last.backward())
    return ndonnx.build({"x": x, "t": t} | params, {"dx": dx})


def network(activation, hidden, dtype):
    """The book's network, and arguments in place of its parameters."""
    net = TwoLayerNet(784, hidden, 10, activation=activation)
    return net, {name: argument(dtype, *p.shape) for name, p in net.params.items()}


def argument(dtype, *shape):
    return ndonnx.argument(shape=shape, dtype=getattr(ndonnx, dtype))


def of_any_size(trace):
    """The model for any batch size N and any number H of hidden units.

    It is traced with two pairs of sizes. If the operations are the same, no size is written in them.
    """
    model, other = trace(3, 5), trace(7, 11)
    operations, others = (without_branches(m.graph) for m in (model, other))
    if operations != others:
        raise ValueError("the traced operations depend on the batch size or on the number of hidden units")
    free = {3: "N", 5: "H"}

    def declared(values):
        for value in values:
            kind = value.type.tensor_type
            shape = [free.get(side.dim_value, side.dim_value) for side in kind.shape.dim]
            yield helper.make_tensor_value_info(value.name, kind.elem_type, shape)

    graph = helper.make_graph(operations, "xpnet", [*declared(model.graph.input)], [*declared(model.graph.output)])
    made = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    onnx.checker.check_model(made, full_check=True)
    return made


def without_branches(graph):
    """The operations of a graph without ndonnx's branches for empty arrays, which never occur here."""
    operations = []
    for node in graph.node:
        if node.op_type == "If":
            full = next(a.g for a in node.attribute if a.name == "else_branch")
            operations += [*full.node, helper.make_node("Identity", [full.output[0].name], [node.output[0]])]
        else:
            operations.append(node)
    needed, kept = {value.name for value in graph.output}, []
    for node in reversed(operations):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]


# The page


class Playground(SphinxDirective):
    """The page, or the reason why this site is without it."""

    def run(self):
        self.env.note_reread()  # npm may be there next time
        try:
            runtime(self.env.doctreedir)
        except Missing as reason:
            text = f"This site was built without the playground: {reason}. Build the site again where npm works."
            return [nodes.warning("", nodes.paragraph("", text))]
        return [nodes.raw("", (HERE / "page.html").read_text(encoding="utf-8"), format="html")]


def write(app, error):
    """Write the files beside the page, unless the build has failed or the page is left out."""
    package = Path(app.doctreedir) / f"{RUNTIME.replace('@', '-')}.tgz"
    if not error and app.builder.format == "html" and package.exists():
        build(package, Path(app.outdir) / "playground")


def setup(app):
    app.add_directive("playground", Playground)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
