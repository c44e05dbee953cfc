// The page: what is drawn or set goes through the chosen networks, and all of it is shown.

const TRIED = 4e7;  // multiplications for what the examples say of the units, at most

class Play {
  constructor(content, block) {
    this.content = content;
    this.chosen = 0;
    const { examples, image, columns } = content;
    if (examples !== null) this.readExamples(examples, block);
    const { low, high } = content;
    const changed = () => this.show();
    if (image === null) this.inputs = new Sliders(columns, changed);
    else {
      this.inputs = new Paper(image, low, high, changed);
      element("clear").onclick = () => this.inputs.clear();
      element("centre").checked = image[0] === 28 && image[1] === 28;  // MNIST's are centred so
      element("centre").onchange = () => this.inputs.update();
    }
    element("model").onchange = () => this.choose(element("model").selectedIndex);
    element("member").onchange = () => this.newWeights();
    dark.addEventListener("change", () => this.repaint());
  }

  // The examples' cells, and the controls that choose one.
  readExamples({ rows: n, cells, level, truth, classes, values, what }, block) {
    const all = Float64Array.from(arrayAt(block, cells), (v) => v * level);
    const width = all.length / n;
    const rows = Array.from({ length: n }, (_, i) => all.subarray(i * width, (i + 1) * width));
    this.content.shown = { rows, classes, values };
    const box = element("example");
    box.max = n;
    element("of").textContent = `of ${n} ${what}`;
    const take = (i) => {
      this.example = (i + n) % n;
      box.value = this.example + 1;
      this.truth = truth?.[this.example] ?? null;
      this.inputs.show(rows[this.example]);
    };
    this.take = take;
    box.onchange = () => {
      const i = Math.round(box.valueAsNumber) - 1;
      take(i >= 0 && i < n ? i : this.example ?? 0);
    };
    element("previous").onclick = () => take((this.example ?? 0) - 1);
    element("next").onclick = () => take((this.example ?? -1) + 1);
  }

  // Decode a model's numbers, and show it.
  async choose(i) {
    this.course?.pause();
    this.ready = false;
    const model = this.content.models[i];
    const block = await inflated(element(`data-${i + 1}`).textContent);
    if (element("model").selectedIndex !== i && this.content.models.length > 1) return;
    const stacks = model.stacks.map((stack) => snapshotsOf(stack, block));
    this.model = model;
    this.snapshots = stacks[0].map((_, stop) => stacks.flatMap((stack) => stack[stop]));
    this.habits = new Map();
    const last = this.snapshots[this.snapshots.length - 1];
    element("about").textContent = model.about;
    const members = element("member");
    members.replaceChildren(...last.map((_, k) => new Option(`${k + 1} of ${last.length}`, k)));
    element("members").hidden = last.length < 2;
    this.outputs = new Outputs(model, last.length);
    this.plane = Plane.fits(this.content) ? new Plane(this.content, model) : null;
    this.course = new Course(model, this.content.colours, () => this.newWeights());
    this.newLayers();
    this.ready = true;
    this.newWeights();
    element("epoch").closest("section").dataset.ready = model.name;
  }

  get networks() {
    return this.snapshots[this.course.stop];
  }

  get network() {
    return this.networks[Math.max(0, element("member").selectedIndex)];
  }

  newLayers() {
    const { image, columns } = this.content, { network } = this;
    const names = network.encoding === null ? columns.map(({ name }) => name)
      : featureNames(network.encoding);
    this.layersOf = network.layers.map(({ nIn, nOut }) => `${nIn}-${nOut}`).join();
    this.layers = new Layers(network, image, names, () => this.show());
  }

  // Another epoch or network.
  newWeights() {
    const sizes = this.network.layers.map(({ nIn, nOut }) => `${nIn}-${nOut}`).join();
    if (sizes !== this.layersOf) this.newLayers();
    this.plane?.survey((cells) => this.predict(cells), sum(this.networks.map(sizeOf)));
    this.show();
  }

  predict(cells) {
    return ensemble(this.networks, cells, this.content.columns, this.model.classes);
  }

  // Which units are off for all examples, and how large outputs are; worked out once.
  habitsHere() {
    const { network } = this;
    if (!this.content.shown) return null;
    if (!this.habits.has(network)) {
      const n = Math.max(10, Math.floor(TRIED / sizeOf(network)));
      this.habits.set(network, habitsOf(network, this.content.shown.rows.slice(0, n),
        this.content.columns));
    }
    return this.habits.get(network);
  }

  // Show the row that is drawn or set.
  show() {
    if (!this.ready) return;
    const cells = this.inputs.cells();
    this.outputs.paint(this.predict(cells));
    this.plane?.paint(cells);
    this.layers.paint(this.network, forward(this.network, cells, this.content.columns),
      this.habitsHere());
    if (element("truth")) element("truth").textContent = this.truthText();
  }

  truthText() {
    if (this.truth === null || this.truth === undefined) return "";
    const rows = this.content.shown.rows[this.example];
    const cells = this.inputs.cells();
    const same = !this.inputs.drawn && rows.every((v, i) => Object.is(v, cells[i]));
    return same ? `${this.model.decides === "one" ? "true class" : "true"}: ${this.truth}` : "";
  }

  repaint() {
    this.inputs.paint?.();
    this.show();
  }
}

const sum = (values) => values.reduce((a, b) => a + b, 0);

// How many weights a network has.
const sizeOf = ({ layers }) => sum(layers.map(({ nIn, nOut }) => nIn * nOut));

// Names of the features that a map of numbers makes.
function numberNames({ name, map }) {
  const bins = ({ edges }) =>
    edges.slice(1).map((edge, t) => `${name} ${figure(edges[t])}..${figure(edge)}`);
  if (map.kind === "nothing") return [];
  if (map.kind === "piecewise") return bins(map);
  return map.kind === "mixed" && map.bins.means.length > 1 ? [name, ...bins(map.bins)] : [name];
}

// Names of the features that an encoding makes: a category's value, or a bin of numbers.
function featureNames({ columns, padding }) {
  const names = columns.flatMap((column) => {
    if (column.kind === "categories") {
      return [...column.values.map((value) => `${column.name}=${value}`),
        ...(column.missing ? [`${column.name} (missing)`] : []),
        ...(column.other ? [`${column.name} (other)`] : [])];
    }
    return [...numberNames(column), ...(column.indicator ? [`${column.name} (missing)`] : [])];
  });
  return [...names, ...Array.from({ length: padding }, (_, i) => `(padding ${i})`)];
}

// Begin once it is looked at, so that a page with much else opens at once.
async function begin(section) {
  try {
    const content = JSON.parse(element("content").textContent);
    const play = new Play(content, await inflated(element("data-0").textContent));
    await play.choose(Math.max(0, element("model").selectedIndex));
    play.take?.(0);
    section.play = play;
  } catch (error) {
    element("problem").hidden = false;
    element("problem").textContent = `This part of the page does not work here: ${error.message}`;
    throw error;
  }
}

const section = document.getElementById("amp");
new IntersectionObserver((entries, observer) => {
  if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
  observer.disconnect();
  begin(section);
}, { rootMargin: "600px" }).observe(section);
