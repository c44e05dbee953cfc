// The paper: an image to draw with mouse, touch or keys. Ink is from 0 to 1, a number a pixel.

const STROKE = 0.045;  // radius of the pen, of the image's height: as MNIST's digits are
const DIRECTIONS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
};

class Paper {
  // `changed` is called after each change of the ink; a pixel's numbers are from low to high.
  constructor([rows, columns], low, high, changed) {
    Object.assign(this, { rows, columns, low, high, changed });
    this.ink = new Float64Array(rows * columns);
    this.drawn = false;  // whether it is the user's, and no example
    this.cursor = [Math.floor(columns / 2), Math.floor(rows / 2)];
    this.canvas = element("draw");
    this.canvas.width = columns;
    this.canvas.height = rows;
    this.listen();
  }

  listen() {
    const { canvas } = this;
    let last = null;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width * this.columns - 0.5,
        (event.clientY - box.top) / box.height * this.rows - 0.5];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      last = place(event);
      this.stroke(last, last);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (last === null) return;
      const next = place(event);
      this.stroke(last, next);
      last = next;
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => { last = null; });
    }
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("focus", () => this.paint());
    canvas.addEventListener("blur", () => this.paint());
  }

  key(event) {
    const step = DIRECTIONS[event.key], before = this.cursor;
    if (step) {
      this.cursor = [Math.max(0, Math.min(this.columns - 1, before[0] + step[0])),
        Math.max(0, Math.min(this.rows - 1, before[1] + step[1]))];
      if (event.shiftKey) this.stroke(before, this.cursor);
      else this.paint();
    } else if (event.key === " " || event.key === "Enter") this.stroke(before, before);
    else if (event.key === "Delete" || event.key === "Backspace") this.clear();
    else return;
    event.preventDefault();
    const [x, y] = this.cursor;
    const inked = this.ink[y * this.columns + x] > 0.5 ? "drawn" : "empty";
    element("said").textContent = `row ${y + 1}, column ${x + 1}, ${inked}`;
  }

  // Ink from one place to another; the first stroke on an example begins a new drawing.
  stroke([x0, y0], [x1, y1]) {
    if (!this.drawn) this.ink.fill(0);
    this.drawn = true;
    const radius = Math.max(0.6, STROKE * this.rows);
    const length = (x1 - x0) ** 2 + (y1 - y0) ** 2;
    for (let y = 0, i = 0; y < this.rows; y++) {
      for (let x = 0; x < this.columns; x++, i++) {
        const along = length ? ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length : 0;
        const t = Math.max(0, Math.min(1, along));
        const distance = Math.hypot(x - x0 - t * (x1 - x0), y - y0 - t * (y1 - y0));
        this.ink[i] = Math.max(this.ink[i], Math.min(1, Math.max(0, radius + 0.5 - distance)));
      }
    }
    this.update();
  }

  clear() {
    this.ink.fill(0);
    this.drawn = true;
    this.update();
  }

  // Show an example's pixels.
  show(cells) {
    this.ink = Float64Array.from(cells, (v) => (v - this.low) / (this.high - this.low));
    this.example = cells;
    this.drawn = false;
    this.update();
  }

  update() {
    this.paint();
    this.changed();
  }

  // What the network sees: an example as it is, a drawing with its centre of mass in the middle.
  cells() {
    if (!this.drawn && this.example) return this.example;
    const ink = element("centre").checked ? this.centred() : this.ink;
    return ink.map((v) => this.low + v * (this.high - this.low));
  }

  centred() {
    let mass = 0, mx = 0, my = 0;
    this.ink.forEach((v, i) => {
      mass += v;
      mx += v * (i % this.columns);
      my += v * Math.floor(i / this.columns);
    });
    if (mass === 0) return this.ink;
    const dx = Math.round((this.columns - 1) / 2 - mx / mass);
    const dy = Math.round((this.rows - 1) / 2 - my / mass);
    const shifted = new Float64Array(this.ink.length);
    this.ink.forEach((v, i) => {
      const x = (i % this.columns) + dx, y = Math.floor(i / this.columns) + dy;
      const inside = x >= 0 && x < this.columns && y >= 0 && y < this.rows;
      if (inside) shifted[y * this.columns + x] = v;
    });
    return shifted;
  }

  // The ink, what the network sees of a drawing, and the cursor where the keys are heard.
  paint() {
    this.paintInk(this.canvas, this.ink);
    const seen = element("seen");
    seen.hidden = !this.drawn;
    if (this.drawn) {
      [seen.width, seen.height] = [this.columns, this.rows];
      this.paintInk(seen, element("centre").checked ? this.centred() : this.ink);
    }
    const cursor = element("cursor");
    cursor.hidden = document.activeElement !== this.canvas;
    cursor.style.left = `${100 * this.cursor[0] / this.columns}%`;
    cursor.style.top = `${100 * this.cursor[1] / this.rows}%`;
    cursor.style.width = `${100 / this.columns}%`;
    cursor.style.height = `${100 / this.rows}%`;
  }

  // Dark ink on a light page, light ink on a dark one.
  paintInk(canvas, ink) {
    const pen = canvas.getContext("2d");
    const white = [255, 255, 255];
    const [paper, full] = dark.matches ? [[40, 43, 48], white] : [white, [0, 0, 0]];
    ink.forEach((v, i) => {
      pen.fillStyle = rgb(mixed(paper, full, Math.max(0, Math.min(1, v))));
      pen.fillRect(i % this.columns, Math.floor(i / this.columns), 1, 1);
    });
  }
}
