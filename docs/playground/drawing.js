// Numbers as pictures: charts, and images of weights and activations.

/** A line through points [update, value], with a grid from 0 to `top`. */
export function chart(svg, name, all, top, text) {
  const points = all.filter(([, value]) => Number.isFinite(value));
  const [left, right, high, low] = [34, 312, 8, 130];
  const last = points.at(-1)?.[0] || 1;
  const y = (value) => (low - ((low - high) * Math.min(value, top)) / top).toFixed(1);
  const x = (update) => (left + ((right - left) * update) / last).toFixed(1);
  const lines = [0, top / 2, top].map(
    (value) =>
      `<path class="pg-grid" d="M${left} ${y(value)}H${right}"/>` +
      `<text x="${left - 4}" y="${y(value)}" dy="4" text-anchor="end">${text(value)}</text>`,
  );
  const line = points.map(([update, value]) => `${x(update)} ${y(value)}`).join("L");
  svg.innerHTML =
    `${lines.join("")}<text x="${left}" y="146">0</text>` +
    `<text x="${right}" y="146" text-anchor="end">${points.at(-1)?.[0] || ""} updates</text>` +
    (line && `<path class="pg-line" d="M${line}"/>`);
  const end = points.length ? `: ${text(points.at(-1)[1])} after ${last} updates` : "";
  svg.setAttribute("aria-label", name + end);
}

/** At most `most` points [update, mean of the values up to it] of values that belong to the updates 1, 2, ... */
export function thinned(values, most = 150) {
  const size = Math.ceil(values.length / most) || 1;
  const points = [];
  for (let start = 0; start < values.length; start += size) {
    const part = values.slice(start, start + size);
    points.push([start + part.length, part.reduce((a, b) => a + b) / part.length]);
  }
  return points;
}

/** Images of numbers side by side: orange is positive, blue negative. `most` has full color, by default the largest
 * number of each image. */
export function colored(canvas, images, width, columns, most) {
  const height = images[0].length / width;
  const gap = images.length > 1 ? 1 : 0;
  const rows = Math.ceil(images.length / columns);
  const picture = resized(canvas, columns * (width + gap) - gap, rows * (height + gap) - gap);
  images.forEach((numbers, n) => {
    const full = most ?? (numbers.reduce((a, b) => Math.max(a, Math.abs(b)), 0) || 1);
    const start = Math.floor(n / columns) * (height + gap) * picture.width + (n % columns) * (width + gap);
    numbers.forEach((number, i) => {
      const at = start + Math.floor(i / width) * picture.width + (i % width);
      const color = number > 0 ? [230, 97, 0] : [26, 123, 224];
      picture.data.set([...color, (255 * Math.abs(number)) / full], 4 * at);
    });
  });
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

/** An image of numbers from 0 to 1, white on nothing. */
export function white(canvas, image) {
  const picture = resized(canvas, 28, 28);
  image.forEach((number, i) => picture.data.set([255, 255, 255, 255 * number], 4 * i));
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function resized(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  return canvas.getContext("2d").createImageData(width, height);
}
