// A drawing as an image like those of MNIST, as `read_digit` of xpnet.datasets makes it.

/** The drawing, cropped, scaled to 20 of 28 pixels, and centered by its center of mass; null if nothing is drawn.
 *
 * `ink` has the values of the rows of the drawing, from 0 (paper) to 1.
 */
export function centered(ink, width, height) {
  const most = ink.reduce((a, b) => Math.max(a, b), 0);
  const box = most < 0.1 ? null : boxAround(ink, width, most / 10);
  if (!box) return null;
  const [top, bottom, left, right] = box;
  const [tall, wide] = [bottom - top + 1, right - left + 1];
  const scale = 20 / Math.max(tall, wide);
  const [rows, columns] = [tall, wide].map((side) => Math.max(1, roundHalfEven(scale * side)));
  let small = new Float64Array(tall * wide);
  for (let y = 0; y < tall; y++) {
    for (let x = 0; x < wide; x++) {
      small[y * wide + x] = Math.floor((255 * ink[(top + y) * width + left + x]) / most);
    }
  }
  small = shrunk(small, wide, columns); // the rows, then the columns
  small = transposed(shrunk(transposed(small, columns), tall, rows), rows);
  const [firstRow, firstColumn] = [
    placed(small, rows, (i) => Math.floor(i / columns)),
    placed(small, columns, (i) => i % columns),
  ];
  const image = new Float64Array(784);
  small.forEach((value, i) => {
    image[(firstRow + Math.floor(i / columns)) * 28 + firstColumn + (i % columns)] = value / 255;
  });
  return image;
}

function boxAround(ink, width, least) {
  let box = null;
  ink.forEach((value, i) => {
    if (value <= least) return;
    const [y, x] = [Math.floor(i / width), i % width];
    box = box ? [box[0], y, Math.min(box[2], x), Math.max(box[3], x)] : [y, y, x, x];
  });
  return box;
}

/** Each row scaled from `from` to `to` values: the means of the values that fall on each, rounded, as in Pillow. */
function shrunk(values, from, to) {
  const rows = values.length / from;
  const [ratio, out] = [from / to, new Float64Array(rows * to)];
  const reach = Math.max(ratio, 1) / 2;
  for (let i = 0; i < to; i++) {
    const middle = (i + 0.5) * ratio;
    const first = Math.max(0, Math.floor(middle - reach + 0.5));
    const end = Math.min(from, Math.floor(middle + reach + 0.5));
    for (let row = 0; row < rows; row++) {
      let [sum, count] = [0, 0];
      for (let x = first; x < end; x++) {
        const distance = (x - middle + 0.5) / (2 * reach);
        if (distance > -0.5 && distance <= 0.5) [sum, count] = [sum + values[row * from + x], count + 1];
      }
      out[row * to + i] = Math.floor(sum / count + 0.5);
    }
  }
  return out;
}

function transposed(values, columns) {
  const rows = values.length / columns;
  return values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)]);
}

/** Where a side of the image begins, so that the center of mass is in the middle of 28 pixels. */
function placed(small, side, along) {
  let [mass, moment] = [0, 0];
  small.forEach((value, i) => ([mass, moment] = [mass + value, moment + value * along(i)]));
  return Math.min(Math.max(roundHalfEven(14 - moment / mass), 0), 28 - side);
}

function roundHalfEven(number) {
  const low = Math.floor(number);
  const rest = number - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low;
}
