// Numbers as colours: blue below 0, red above, the page's own background at 0.

const dark = matchMedia("(prefers-color-scheme: dark)");
const ENDS = {
  light: { zero: [255, 255, 255], below: [33, 102, 172], above: [178, 24, 43], text: "#1c1c1c",
    gap: "#dcdfe4" },
  dark: { zero: [22, 22, 22], below: [96, 165, 235], above: [245, 105, 110], text: "#e6e6e6",
    gap: "#3a3e45" },
};
const ends = () => (dark.matches ? ENDS.dark : ENDS.light);

const element = (id) => document.getElementById(`amp-${id}`);
const rgb = (colour) => `rgb(${colour.map(Math.round).join(",")})`;
const mixed = (a, b, part) => a.map((v, i) => v + part * (b[i] - v));

// The colour of a number from -largest to largest.
function shade(value, largest) {
  const { zero, below, above } = ends();
  if (!Number.isFinite(value)) return [128, 128, 128];
  const part = Math.min(Math.abs(value) / (largest || 1), 1);
  return mixed(zero, value < 0 ? below : above, part);
}

// A number in a few characters.
function figure(value) {
  if (value === null || !Number.isFinite(value)) return "not a number";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

const percent = (part) => (Number.isFinite(part) ? `${(100 * part).toFixed(1)} %` : "not a number");

const greatest = (values) => values.reduce((a, b) => (Math.abs(b) > a ? Math.abs(b) : a), 0);

// Numbers as a grid of cells; some of them crossed out, one framed.
function paintGrid(canvas, values, how) {
  const { columns, cell, gap = 0, largest, crossed = null, framed = -1 } = how;
  const rows = Math.ceil(values.length / columns);
  canvas.width = columns * cell + gap;
  canvas.height = rows * cell + gap;
  const pen = canvas.getContext("2d");
  if (gap) {
    pen.fillStyle = ends().gap;  // so that cells show where their number is 0
    pen.fillRect(0, 0, Math.min(columns, values.length) * cell + gap, canvas.height);
  }
  for (let i = 0; i < values.length; i++) {
    const x = (i % columns) * cell + gap, y = Math.floor(i / columns) * cell + gap;
    pen.fillStyle = rgb(shade(values[i], largest));
    pen.fillRect(x, y, cell - gap, cell - gap);
    pen.strokeStyle = ends().text;
    if (crossed?.[i]) cross(pen, x, y, cell - gap);
    if (i !== framed) continue;
    pen.lineWidth = 2;
    pen.strokeRect(x, y, cell - gap, cell - gap);
    pen.lineWidth = 1;
  }
}

function cross(pen, x, y, size) {
  pen.beginPath();
  pen.moveTo(x + 2, y + 2);
  pen.lineTo(x + size - 2, y + size - 2);
  pen.moveTo(x + size - 2, y + 2);
  pen.lineTo(x + 2, y + size - 2);
  pen.stroke();
}

// What colours mean, from -largest (or from 0) to largest; and beyond, where there may be more.
function paintKey(holder, largest, signed, beyond = false) {
  const { zero, below, above } = ends();
  const colours = signed ? [below, zero, above] : [zero, above];
  const [least, most] = beyond ? ["\u2264 ", "\u2265 "] : ["", ""];
  const texts = [...(signed ? [least + figure(-largest)] : []), "0", most + figure(largest)];
  holder.replaceChildren();
  const bar = document.createElement("i");
  bar.style.background = `linear-gradient(90deg, ${colours.map(rgb).join(",")})`;
  const numbers = document.createElement("span");
  numbers.append(...texts.map((text) => child("span", text)));
  holder.append(bar, numbers);
}

// An element of a kind with a text.
function child(kind, text, name = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

// An item of a list with a name, a bar of a part from 0 to 1, and a figure.
function barItem(name, part, text, colour, strong) {
  const item = document.createElement("li");
  if (strong) item.className = "amp-strong";
  const track = child("i", ""), bar = child("b", "");
  bar.style.width = `${100 * Math.max(0, Math.min(1, part || 0))}%`;
  bar.style.background = colour;
  track.append(bar);
  item.append(child("span", name, "amp-name"), track, child("span", text, "amp-value"));
  return item;
}

const SVG = "http://www.w3.org/2000/svg";

function svgChild(parent, kind, attributes, text = "") {
  const made = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  parent.append(made);
  return made;
}
