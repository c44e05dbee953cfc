// The layers: each unit a cell, coloured by its output z, and the incoming weights of one of them.

const CELL = 16, LEAST_CELL = 5;  // pixels
const WIDE = 20;  // cells in a row, at most, where there are not very many
const PICTURE = 224;  // pixels of a picture of weights
const STRONGEST = 12;  // weights that are listed where there is no picture

class Layers {
  // `chosen` is called when another unit is looked at.
  constructor(network, image, names, chosen) {
    Object.assign(this, { network, image, names, chosen, layer: 0, unit: 0 });
    const holder = element("layers");
    holder.replaceChildren();
    this.rows = network.layers.map((layer, i) => this.row(layer, i, holder));
  }

  row({ nOut, activation }, i, holder) {
    const last = i === this.network.layers.length - 1;
    const some = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
    const what = last ? `layer ${i + 1}: ${some(nOut, "output")}, the logits`
      : `layer ${i + 1}: ${some(nOut, "unit")}, ${activation}`;
    const title = child("p", what, "amp-figure"), key = child("div", "", "amp-key");
    const canvas = child("canvas", "");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "slider");
    canvas.setAttribute("aria-label", `units of layer ${i + 1}`);
    canvas.setAttribute("aria-valuemin", "1");
    canvas.setAttribute("aria-valuemax", String(nOut));
    const live = child("p", "", "amp-note");
    holder.append(title, canvas, key, live);
    const columns = Math.min(nOut, nOut <= WIDE * WIDE ? WIDE : Math.ceil(Math.sqrt(2 * nOut)));
    const cell = Math.max(LEAST_CELL, Math.min(CELL, Math.floor(CELL * WIDE / columns)));
    const row = { canvas, key, live, columns, cell, at: 0, nOut };
    const under = (event) => {
      const box = canvas.getBoundingClientRect();
      const x = Math.floor((event.clientX - box.left) / box.width * columns);
      const y = Math.floor((event.clientY - box.top) / box.height * Math.ceil(nOut / columns));
      if (x >= 0 && x < columns && y * columns + x < nOut) this.look(i, y * columns + x);
    };
    canvas.addEventListener("pointermove", under);
    canvas.addEventListener("pointerdown", under);
    canvas.addEventListener("focus", () => this.look(i, row.at));
    canvas.addEventListener("keydown", (event) => this.key(event, i, row));
    return row;
  }

  key(event, i, row) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row.columns, ArrowDown: row.columns,
      Home: -row.nOut, End: row.nOut };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const at = row.at + steps[event.key];
    const whole = event.key === "Home" || event.key === "End";
    if (whole || (at >= 0 && at < row.nOut)) {
      this.look(i, Math.max(0, Math.min(row.nOut - 1, at)));
    }
  }

  look(layer, unit) {
    if (this.layer === layer && this.unit === unit) return;
    this.layer = layer;
    this.unit = unit;
    this.rows[layer].at = unit;
    this.chosen();
  }

  // Colour all units by the values of a row, with what the examples say of each layer.
  paint(network, caches, habits) {
    this.rows.forEach((row, i) => {
      const { z } = caches[i], off = habits?.off[i] ?? null;
      const largest = habits?.largest[i] || greatest(z);
      const framed = i === this.layer ? this.unit : -1;
      paintGrid(row.canvas, z, { columns: row.columns, cell: row.cell, gap: 1, largest,
        crossed: off, framed });
      paintKey(row.key, largest, habits ? habits.signed[i] : z.some((v) => v < 0), habits !== null);
      row.canvas.setAttribute("aria-valuenow", String(row.at + 1));
      row.canvas.setAttribute("aria-valuetext",
        `unit ${row.at + 1} of ${row.nOut}, output ${figure(z[row.at])}`);
      const n = off ? off.filter(Boolean).length : 0;
      row.live.textContent = n
        ? `crossed out: ${n} of ${row.nOut} units, off for each of ${habits.rows} examples` : "";
    });
    this.paintUnit(network.layers[this.layer], caches[this.layer], habits);
  }

  // The unit that is looked at: its weighted sum s, its output z, and its incoming weights.
  paintUnit({ weights, bias, nIn, nOut }, { s, z }, habits) {
    const { layer, unit } = this;
    const incoming = Float64Array.from({ length: nIn }, (_, i) => weights[i * nOut + unit]);
    const off = habits?.off[layer]?.[unit] ? `; off for each of the ${habits.rows} examples` : "";
    element("unit-title").textContent = `Unit ${unit + 1} of layer ${layer + 1}: `
      + `s = ${figure(s[unit])}, z = ${figure(z[unit])}${off}`;
    const largest = greatest(incoming);
    const columns = layer > 0 ? this.rows[layer - 1].columns : this.image?.[1];
    const canvas = element("weights"), list = element("strongest");
    canvas.hidden = columns === undefined;
    list.hidden = !canvas.hidden;
    const note = layer > 0 ? `its ${nIn} incoming weights, one a unit of layer ${layer}`
      : `its ${nIn} incoming weights, one ${this.image ? "a pixel" : "a feature"}`;
    element("unit-note").textContent = `${note}; its bias is ${figure(bias[unit])}.`;
    if (columns !== undefined) {
      const cell = Math.max(1, Math.floor(PICTURE / Math.max(columns, nIn / columns)));
      paintGrid(canvas, incoming, { columns, cell: Math.min(cell, CELL), largest });
      canvas.setAttribute("aria-label",
        `${note}, from ${figure(Math.min(...incoming))} to ${figure(Math.max(...incoming))}`);
    } else this.list(incoming, largest, list);
    paintKey(element("weights-key"), largest, true);
  }

  // The weights of the largest size, by the names of their features.
  list(incoming, largest, list) {
    const size = (i) => Math.abs(incoming[i]);
    const order = [...incoming.keys()].sort((a, b) => size(b) - size(a));
    list.replaceChildren(...order.slice(0, STRONGEST).map((i) => barItem(this.names[i] ?? `${i}`,
      size(i) / largest, figure(incoming[i]), rgb(shade(incoming[i], largest)))));
  }
}

// What the examples say of a network's units: which are off for all, and how large the largest
// output of a layer is, on average.
function habitsOf(network, rows, columns) {
  const n = network.layers.length;
  const off = network.layers.map(({ nOut }) => new Array(nOut).fill(true));
  const largest = new Array(n).fill(0), signed = new Array(n).fill(false);
  for (const cells of rows) {
    forward(network, cells, columns).forEach(({ s, z }, i) => {
      const { slope } = ACTIVATIONS[network.layers[i].activation];
      for (let j = 0; j < z.length; j++) {
        if (!(Math.abs(slope(s[j], z[j])) <= ACTIVE)) off[i][j] = false;
        if (z[j] < 0) signed[i] = true;
      }
      largest[i] += greatest(z) / rows.length;
    });
  }
  off[n - 1] = null;  // outputs have no slope of their own
  return { off, largest, signed, rows: rows.length };
}
