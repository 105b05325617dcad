// The page of the playground: its controls, and what it shows.

import { centered } from "./digit.js";
import { chart, colored, thinned, white } from "./drawing.js";
import { Batches, Network, Runtime, imagesOf, loadDigits } from "./network.js";

const $ = (name) => document.getElementById(`pg-${name}`);
const FOLDER = new URL("./", import.meta.url).href;
const DEVICES = { wasm: "WebAssembly", webgpu: "WebGPU" };
const TESTED_EVERY = 50; // updates
const drawing = $("drawing").getContext("2d", { willReadFrequently: true });

/** The run, and a promise that ends when it is there; `turn` is null while training pauses. The digit that is looked
 * at, the network's answer, and whether the digit is test image `sample`. */
const page = { run: null, ready: null, turn: null, digit: null, answer: null, given: false, sample: -1 };
window.playground = page; // for the console

// Training

/** A new network with the choices of the page. */
async function reset() {
  pause();
  const choices = {
    activation: $("activation").value,
    hidden: Number($("hidden").value),
    seed: Number($("seed").value),
    device: $("device").value,
  };
  try {
    const net = await Network.make(page.runtime, choices);
    const batches = new Batches(page.digits.train.labels.length, choices.seed + 1);
    page.run = { net, choices, batches, losses: [], accuracies: [] };
    tell("");
  } catch (error) {
    if (choices.device !== "webgpu") throw error;
    allowGpu(false); // the browser has WebGPU, but not all that is needed
    return reset();
  }
  await test(page.run);
  await show();
}

function allowGpu(allowed) {
  const option = $("device").querySelector("[value=webgpu]");
  option.disabled = !allowed;
  option.textContent = DEVICES.webgpu + (allowed ? "" : ": not in this browser");
  $("device").value = allowed ? "webgpu" : "wasm";
}

function pause() {
  page.turn = null;
  $("start").textContent = "Start";
}

async function update(run) {
  const numbers = run.batches.next(Number($("batch").value));
  const x = imagesOf(page.digits.train, numbers, Float32Array);
  const labels = Array.from(numbers, (number) => page.digits.train.labels[number]);
  run.losses.push(await run.net.update(x, labels, Number($("rate").value)));
  if (run.losses.length % TESTED_EVERY === 0) await test(run);
}

async function test(run) {
  page.tests ??= imagesOf(page.digits.test, [...page.digits.test.labels.keys()], Float64Array);
  const { scores } = await run.net.look(page.tests);
  const { labels } = page.digits.test;
  const right = labels.reduce((count, label, i) => count + (best(scores.subarray(10 * i, 10 * i + 10)) === label), 0);
  run.accuracies.push([run.losses.length, right / labels.length]);
}

async function train() {
  const { run } = page;
  const turn = (page.turn = {});
  $("start").textContent = "Pause";
  let [shown, before] = [performance.now(), run.losses.length];
  while (page.turn === turn) {
    const end = performance.now() + 12; // then the browser has time to draw
    do await update(run);
    while (performance.now() < end && page.turn === turn);
    await new Promise(requestAnimationFrame);
    const passed = performance.now() - shown;
    if (passed < 250) continue;
    $("speed").textContent = `${Math.round((1000 * (run.losses.length - before)) / passed)} updates/s`;
    [shown, before] = [performance.now(), run.losses.length];
    await show();
    if (!Number.isFinite(run.losses.at(-1))) {
      pause();
      tell("The loss is not finite: the learning rate is too large. Choose a smaller one, then reset.");
    }
  }
  if (page.run === run) await show();
}

// What the page shows

async function show() {
  const { run } = page;
  const count = run.losses.length;
  const recent = run.losses.slice(-TESTED_EVERY);
  $("updates").textContent = count.toLocaleString("en");
  $("epochs").textContent = (run.batches.seen / page.digits.train.labels.length).toFixed(1);
  $("loss").textContent = count ? (recent.reduce((a, b) => a + b) / recent.length).toFixed(3) : "–";
  $("accuracy").textContent = percent(run.accuracies.at(-1)[1]);
  $("running").textContent = DEVICES[run.choices.device];
  chart($("loss-chart"), "Loss", thinned(run.losses), 2.5, (value) => value.toFixed(2));
  chart($("accuracy-chart"), "Test accuracy", run.accuracies, 1, (value) => `${Math.round(100 * value)}%`);
  showWeights((await run.net.values()).W1, run.choices.hidden);
  await look();
}

/** For each hidden unit an image, about 40 pixels wide. */
function showWeights(W1, hidden) {
  const unit = (h) => Float32Array.from({ length: 784 }, (_, i) => W1[i * hidden + h]);
  const columns = Math.min(hidden, Math.ceil($("weights").clientWidth / 40));
  colored($("weights"), Array.from({ length: hidden }, (_, h) => unit(h)), 28, columns);
}

/** What the network computes for the digit. */
async function look() {
  const { run, digit } = page;
  const image = digit ?? new Float64Array(784);
  const found = await run.net.look(image);
  if (page.digit !== digit || page.run !== run) return;
  const { hidden, activation } = run.choices;
  white($("input"), image);
  $("affine1-size").textContent = `${hidden} hidden units`;
  $("activation-name").textContent = `${activation[0].toUpperCase()}${activation.slice(1)}1`;
  for (const [name, canvas] of Object.entries({ affine1: "affine1", activation: "activated" })) {
    strip($(canvas), found[name], Math.min(hidden, 50));
  }
  strip($("scores"), found.scores, 10);
  strip($("softmax"), found.probabilities, 10, 1);
  page.answer = digit ? best(found.probabilities) : null;
  const { probabilities } = found;
  $("answer").textContent = digit ? `The network reads ${page.answer ?? "nothing"}.` : "Nothing is drawn yet.";
  if (page.given) $("answer").textContent += ` Label: ${page.digits.test.labels[page.sample]}`;
  [...$("probabilities").children].forEach((row, label) => {
    row.classList.toggle("pg-best", label === page.answer);
    const shown = digit ? percent(probabilities[label]) : "";
    row.children[1].firstElementChild.style.width = shown || 0;
    row.children[2].textContent = shown;
  });
  compareSoon();
}

/** Numbers in rows of `columns`, drawn flat and wide; `most` as in `colored`. */
function strip(canvas, numbers, columns, most) {
  const filled = new Float64Array(Math.ceil(numbers.length / columns) * columns);
  filled.set(numbers);
  colored(canvas, [filled], columns, 1, most);
  canvas.style.aspectRatio = `${columns === 10 ? 20 : 25} / ${filled.length / columns}`;
}

function compareSoon() {
  clearTimeout(page.timer);
  if (page.turn) $("difference").textContent = "Pause the training to compare.";
  else page.timer = setTimeout(compare, 300);
}

/** The gradient of the digit by backpropagation, beside the numerical one. */
async function compare() {
  const { run, digit, answer } = page;
  const [updates, chosen] = [run.losses.length, $("label").value];
  if (answer === null) {
    $("difference").textContent = "Draw a digit to compare.";
    return;
  }
  const label = chosen === "" ? answer : Number(chosen);
  const start = performance.now();
  const exact = await run.net.backpropagate(digit, label);
  const middle = performance.now();
  const slopes = await run.net.differentiate(digit, label);
  const end = performance.now();
  if (page.turn || page.run !== run || run.losses.length !== updates) return; // the next comparison is on its way
  if (page.digit !== digit || $("label").value !== chosen) return;
  colored($("backward"), [exact], 28, 1);
  colored($("numerical"), [slopes], 28, 1);
  $("backward-time").textContent = `${(middle - start).toFixed(1)} ms`;
  $("numerical-time").textContent = `${(end - middle).toFixed(0)} ms`;
  const most = (numbers) => numbers.reduce((a, b) => Math.max(a, Math.abs(b)), 0).toExponential(1);
  page.gradients = { exact, slopes };
  $("difference").textContent =
    `The largest derivative is ${most(exact)}. The largest difference between the two images is ` +
    `${most(exact.map((g, i) => g - slopes[i]))}.`;
}

/** The place of the largest number; null if one of them is NaN. */
function best(numbers) {
  const place = numbers.indexOf(Math.max(...numbers));
  return place < 0 ? null : place;
}

function percent(fraction) {
  return `${(100 * fraction).toFixed(1)}%`;
}

function tell(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

// The digit

function clear() {
  drawing.clearRect(0, 0, 280, 280);
  Object.assign(page, { digit: null, given: false });
  $("label").value = "";
}

/** The next test image, as it is: it is centered already. */
function nextSample() {
  clear();
  page.sample = (page.sample + 1) % page.digits.test.labels.length;
  page.given = true;
  page.digit = imagesOf(page.digits.test, [page.sample], Float64Array);
  $("label").value = page.digits.test.labels[page.sample];
  const small = document.createElement("canvas");
  white(small, page.digit);
  drawing.imageSmoothingEnabled = false;
  drawing.drawImage(small, 0, 0, 280, 280);
}

function draw() {
  const canvas = drawing.canvas;
  let last = null;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * 280) / box.width, ((event.clientY - box.top) * 280) / box.height];
  };
  const line = (event) => {
    const next = place(event);
    drawing.beginPath();
    drawing.moveTo(...last);
    drawing.lineTo(...next);
    drawing.stroke();
    last = next;
    const { data } = drawing.getImageData(0, 0, 280, 280);
    page.digit = centered(Float64Array.from({ length: 280 * 280 }, (_, i) => data[4 * i + 3] / 255), 280, 280);
    look();
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (page.given) clear();
    canvas.setPointerCapture(event.pointerId);
    Object.assign(drawing, { lineWidth: 20, lineCap: "round", lineJoin: "round", strokeStyle: "#fff" });
    last = place(event);
    line(event);
  });
  canvas.addEventListener("pointermove", (event) => last && line(event));
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (last = null));
}

// The beginning

function listen() {
  $("start").addEventListener("click", async () => {
    if (page.turn) return pause();
    await page.ready;
    if (!page.turn) await train();
  });
  $("step").addEventListener("click", async () => {
    pause();
    await page.ready;
    await update(page.run);
    await show();
  });
  for (const name of ["reset", "hidden", "activation", "seed", "device"]) {
    $(name).addEventListener(name === "reset" ? "click" : "change", () => (page.ready = reset()));
  }
  $("clear").addEventListener("click", () => (clear(), look()));
  $("sample").addEventListener("click", () => (nextSample(), look()));
  $("label").addEventListener("change", compareSoon);
  draw();
}

async function begin() {
  tell("Loading the images of MNIST and onnxruntime …");
  for (let label = 0; label < 10; label++) {
    const row = document.createElement("li");
    row.innerHTML = `<span>${label}</span><span><span class="pg-bar"></span></span><span></span>`;
    $("probabilities").append(row);
  }
  [page.digits, page.runtime] = await Promise.all([loadDigits(`${FOLDER}digits.bin`), Runtime.load(FOLDER)]);
  if (page.runtime.gpu) allowGpu(true);
  nextSample();
  page.ready = reset();
  await page.ready;
  listen();
  $("all").inert = false;
}

window.addEventListener("unhandledrejection", ({ reason }) => {
  pause();
  tell(`The playground cannot go on: ${reason.message}`);
});
begin();
