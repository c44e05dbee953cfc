// Two numeric features: the predictions over their plane, the examples on it, and the point.

const FINEST = 64, COARSEST = 24;  // predictions across
const AFFORDED = 1.2e8;  // multiplications, at most, unless it is the coarsest
const SCREEN = 384;  // pixels across

class Plane {
  constructor(content, model) {
    Object.assign(this, { content, model });
    this.canvas = element("map");
    this.canvas.width = this.canvas.height = SCREEN;
    element("plane").hidden = false;
    const [a, b] = content.columns;
    const margin = ({ low, high }) => [low - 0.05 * (high - low), high + 0.05 * (high - low)];
    this.x = margin(a);
    this.y = margin(b);
  }

  // Whether a model's inputs are such.
  static fits({ image, columns }) {
    return image === null && columns.length === 2 && columns.every(({ kind }) => kind === "number");
  }

  // Predict over the plane, as finely as networks of so many weights allow; colours only change
  // with the weights.
  survey(predict, weights) {
    const n = Math.floor(Math.max(COARSEST, Math.min(FINEST, Math.sqrt(AFFORDED / weights))));
    this.across = n;
    this.predictions = Array.from({ length: n * n }, (_, i) => predict(Float64Array.of(
      this.x[0] + (i % n + 0.5) / n * (this.x[1] - this.x[0]),
      this.y[1] - (Math.floor(i / n) + 0.5) / n * (this.y[1] - this.y[0]))).mean);
    const first = this.predictions.map((p) => p[0]);
    this.range = [Math.min(...first), Math.max(...first)];
  }

  // Classes have a colour each, the fainter the less sure; numbers go from blue to red.
  colour(mean) {
    const { zero, below, above } = ends();
    const { decides, classes } = this.model;
    if (decides === "no" || classes === null) {
      const [low, high] = decides === "no" ? this.range : [0, 1];
      const part = high > low ? Math.max(0, Math.min(1, (mean[0] - low) / (high - low))) : 0.5;
      return part < 0.5 ? mixed(below, zero, 2 * part) : mixed(zero, above, 2 * part - 1);
    }
    const j = best(mean), least = 1 / mean.length;
    return mixed(zero, this.hue(j), 0.25 + 0.5 * (mean[j] - least) / (1 - least || 1));
  }

  hue(j) {
    const text = this.content.colours[j % this.content.colours.length];
    return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  }

  paint(cells) {
    const pen = this.canvas.getContext("2d"), n = this.across, size = SCREEN / n;
    this.predictions.forEach((mean, i) => {
      pen.fillStyle = rgb(this.colour(mean));
      // Whole pixels, or their borders would show.
      const [left, top] = [i % n, Math.floor(i / n)].map((at) => Math.floor(at * size));
      pen.fillRect(left, top, Math.ceil(size), Math.ceil(size));
    });
    const place = ([x, y]) => [(x - this.x[0]) / (this.x[1] - this.x[0]) * SCREEN,
      (this.y[1] - y) / (this.y[1] - this.y[0]) * SCREEN];
    const { rows = [], classes = null, values = null } = this.content.shown ?? {};
    rows.forEach((row, i) => {
      const known = classes !== null && classes[i] >= 0;
      const colour = known ? this.hue(classes[i]) : values && this.colour([values[i]]);
      dot(pen, place(row), 3.5, colour ? rgb(colour) : "#808080", ends().text);
    });
    dot(pen, place(cells), 7, "transparent", ends().text, 3);
    const [a, b] = this.content.columns.map(({ name }) => name);
    const { decides, outputs, classes: labels } = this.model;
    const what = decides === "no"
      ? `${outputs[0]} from ${figure(this.range[0])}, blue, to ${figure(this.range[1])}, red`
      : labels === null ? `the probability of ${outputs[0]} from 0, blue, to 1, red`
        : "the most probable class, fainter where it is less sure";
    this.canvas.setAttribute("aria-label", `${what}, by ${a} and ${b}`);
    const key = element("map-key");
    key.textContent = `${what}, by ${a} (across) and ${b} (up). ${rows.length ? "Dots are examples, the" : "The"}`
      + " ring is the point that the sliders say. ";
    if (labels !== null) outputs.forEach((name, j) => key.append(swatch(name, rgb(this.hue(j)))));
  }
}

function dot(pen, [x, y], radius, fill, line, width = 1) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fillStyle = fill;
  pen.fill();
  pen.lineWidth = width;
  pen.strokeStyle = line;
  pen.stroke();
}

function swatch(name, colour) {
  const whole = child("span", "", "amp-swatch"), sample = child("i", "");
  sample.style.background = colour;
  whole.append(sample, name);
  return whole;
}
