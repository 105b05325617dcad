// The network, and the models that compute with it. Nothing here knows the page.

const SHAPES = (hidden) => ({ W1: [784, hidden], b1: [hidden], W2: [hidden, 10], b2: [10] });
const SIZE = 784; // pixels of an image

/** Random numbers from a seed: mulberry32, and Box-Muller for the normal distribution. */
export class Random {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  uniform() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  }

  normal() {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  shuffled(count) {
    const order = Int32Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = Math.floor(this.uniform() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }
}

/** The samples of each mini-batch. The order is shuffled for each epoch; the end of an epoch that is too small for a
 * mini-batch is left out. */
export class Batches {
  constructor(count, seed) {
    Object.assign(this, { count, random: new Random(seed), position: count, order: null, seen: 0 });
  }

  next(size) {
    if (this.position + size > this.count) {
      [this.order, this.position] = [this.random.shuffled(this.count), 0];
    }
    this.position += size;
    this.seen += size;
    return this.order.subarray(this.position - size, this.position);
  }
}

/** MNIST images with labels, in a training part and a test part. */
export async function loadDigits(url) {
  const data = await unpacked(url);
  const [train, test] = new Uint32Array(data, 0, 2);
  let position = 8;
  const take = (length) => new Uint8Array(data, (position += length) - length, length);
  const images = [take(train * SIZE), take(test * SIZE)];
  const labels = [take(train), take(test)];
  const part = (i) => ({ images: images[i], labels: labels[i] });
  return { train: part(0), test: part(1) };
}

/** Images by their numbers, scaled from 0 to 1, in an array of this type. */
export function imagesOf(part, numbers, ArrayType) {
  const x = new ArrayType(numbers.length * SIZE);
  numbers.forEach((number, row) => {
    for (let i = 0; i < SIZE; i++) x[row * SIZE + i] = part.images[number * SIZE + i] / 255;
  });
  return x;
}

async function fetched(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} cannot be loaded: ${answer.status} ${answer.statusText}`);
  return answer;
}

async function unpacked(url) {
  const { body } = await fetched(url);
  return new Response(body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** onnxruntime-web and the models. `gpu` tells whether the browser has WebGPU. */
export class Runtime {
  static async load(folder) {
    const gpu = Boolean(await navigator.gpu?.requestAdapter().catch(() => null));
    return Object.assign(new Runtime(), { folder, gpu, loaded: new Map(), last: Promise.resolve() });
  }

  /** The result of a function that is called once for each key. */
  once(key, make) {
    if (!this.loaded.has(key)) this.loaded.set(key, make());
    return this.loaded.get(key);
  }

  /** onnxruntime-web for "wasm" or "webgpu". Only the first one knows float64. */
  library(device) {
    return this.once(device, async () => {
      let [name, code] = ["wasm", "ort-wasm-simd-threaded"];
      if (device === "webgpu") {
        [name, code] = "Suspending" in WebAssembly ? ["jspi", `${code}.jspi`] : ["webgpu", `${code}.asyncify`];
      }
      const ort = await import(`${this.folder}ort.${name}.min.mjs`);
      ort.env.wasm.numThreads = 1; // more threads need HTTP headers that a plain file server does not send
      ort.env.wasm.wasmPaths = this.folder;
      ort.env.wasm.wasmBinary = await unpacked(`${this.folder}${code}.bin`);
      return ort;
    });
  }

  model(name, device) {
    return this.once(`${name} ${device}`, async () => {
      const ort = await this.library(device);
      const data = await (await fetched(`${this.folder}${name}.onnx`)).arrayBuffer();
      const options = { executionProviders: [device], logSeverityLevel: 3 };
      if (device === "webgpu") {
        // The parameters stay on the GPU from one update to the next.
        const names = Object.keys(SHAPES(1)).map((param) => [`${param}_next`, "gpu-buffer"]);
        options.preferredOutputLocation = Object.fromEntries(names);
      }
      return ort.InferenceSession.create(new Uint8Array(data), options);
    });
  }

  /** Call a function after the calls before it have ended: onnxruntime-web runs one model at a time. */
  inTurn(call) {
    const result = this.last.then(call);
    this.last = result.catch(() => {});
    return result;
  }
}

/** The book's TwoLayerNet. Its arithmetic is xpnet's, in the models. */
export class Network {
  static async make(runtime, { activation, hidden, seed, device }) {
    const net = Object.assign(new Network(), { runtime, params: {}, doubles: null });
    await runtime.inTurn(async () => {
      [net.fast, net.exact] = [await runtime.library(device), await runtime.library("wasm")];
      net.step = await runtime.model(`step-${activation}`, device);
      net.forward = await runtime.model(`forward-${activation}`, "wasm");
      net.gradient = await runtime.model(`gradient-${activation}`, "wasm");
    });
    const random = new Random(seed);
    for (const [name, shape] of Object.entries(SHAPES(hidden))) {
      const drawn = () => (name.startsWith("W") ? 0.01 * random.normal() : 0);
      const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, drawn);
      net.params[name] = new net.fast.Tensor(values, shape);
    }
    return net;
  }

  /** One update with images and labels; returns the loss before it. */
  update(x, labels, learningRate) {
    const { Tensor } = this.fast;
    const count = labels.length;
    const feeds = {
      x: new Tensor(x, [count, SIZE]),
      t: new Tensor(oneHot(labels, Float32Array), [count, 10]),
      weight: new Tensor(new Float32Array(count).fill(1), [count]),
      lr: new Tensor(Float32Array.of(learningRate), []),
    };
    return this.runtime.inTurn(async () => {
      const { loss, ...after } = await this.step.run({ ...feeds, ...this.params });
      for (const [name, before] of Object.entries(this.params)) {
        before.dispose(); // on the GPU, memory is not freed by itself
        this.params[name] = after[`${name}_next`];
      }
      this.doubles = null;
      return loss.data[0];
    });
  }

  /** The parameters by name. */
  values() {
    return this.runtime.inTurn(() => this.read());
  }

  async read() {
    const values = {};
    for (const [name, tensor] of Object.entries(this.params)) values[name] = (await tensor.getData()).slice();
    return values;
  }

  /** For images in float64: the outputs of the layers, the probabilities and, for each label, the loss. */
  look(x) {
    return this.run(this.forward, { x: new this.exact.Tensor(x, [x.length / SIZE, SIZE]) });
  }

  /** The derivative of the loss of one image with respect to its pixels, by backpropagation. */
  async backpropagate(x, label) {
    const { Tensor } = this.exact;
    const t = new Tensor(oneHot([label], Float64Array), [1, 10]);
    const { dx } = await this.run(this.gradient, { x: new Tensor(x, [1, SIZE]), t });
    return dx;
  }

  /** The same derivative by central differences, as `xpnet.numerical_gradient` computes it. */
  async differentiate(x, label, step = 1e-4) {
    const slopes = new Float64Array(SIZE);
    const part = 112; // pixels at a time, so that the page stays responsive
    for (let first = 0; first < SIZE; first += part) {
      const moved = new Float64Array(2 * part * SIZE);
      for (let i = 0; i < part; i++) {
        for (const [row, sign] of [[2 * i, 1], [2 * i + 1, -1]]) {
          moved.set(x, row * SIZE);
          moved[row * SIZE + first + i] += sign * step;
        }
      }
      const { losses } = await this.look(moved);
      for (let i = 0; i < part; i++) {
        slopes[first + i] = (losses[20 * i + label] - losses[20 * i + 10 + label]) / (2 * step);
      }
      await new Promise((resolve) => setTimeout(resolve));
    }
    return slopes;
  }

  run(session, feeds) {
    return this.runtime.inTurn(async () => {
      if (!this.doubles) {
        this.doubles = {};
        for (const [name, values] of Object.entries(await this.read())) {
          this.doubles[name] = new this.exact.Tensor(Float64Array.from(values), this.params[name].dims);
        }
      }
      const found = await session.run({ ...feeds, ...this.doubles });
      return Object.fromEntries(Object.entries(found).map(([name, tensor]) => [name, tensor.data]));
    });
  }
}

function oneHot(labels, ArrayType) {
  const rows = new ArrayType(labels.length * 10);
  labels.forEach((label, row) => (rows[row * 10 + label] = 1));
  return rows;
}
