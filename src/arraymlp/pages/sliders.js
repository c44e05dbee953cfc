// A table's inputs: a slider and a number for each feature, a date, or a choice of categories.

const DAY = 86400000;  // milliseconds

class Sliders {
  // `changed` is called after each change by the user.
  constructor(columns, changed) {
    this.columns = columns;
    this.changed = changed;
    this.values = Float64Array.from(columns, (column) => column.start);
    this.inputs = columns.map((column, i) => this.input(column, i));
    element("sliders").append(...this.inputs.map(({ row }) => row));
    this.show(this.values);
  }

  cells() {
    return this.values;
  }

  set(i, value) {
    this.values[i] = value;
    this.inputs[i].show(value);
    this.changed();
  }

  // Show a row, such as an example.
  show(cells) {
    this.values = Float64Array.from(cells);
    this.inputs.forEach(({ show }, i) => show(this.values[i]));
    this.changed();
  }

  input(column, i) {
    const row = child("div", "", "amp-slider");
    const label = child("label", column.name);
    label.htmlFor = `amp-input-${i}`;
    row.append(label);
    const make = column.kind === "category" ? this.choice : this.number;
    return { row, show: make.call(this, column, i, row) };
  }

  choice(column, i, row) {
    const select = child("select", "");
    select.id = `amp-input-${i}`;
    select.autocomplete = "off";
    column.values.forEach((value, at) => select.append(new Option(value, at)));
    if (column.missing || column.other) select.append(new Option("(missing)", MISSING));
    if (column.other) select.append(new Option("(any other)", OTHER));
    select.addEventListener("change", () => this.set(i, Number(select.value)));
    row.append(select);
    return (value) => {
      const known = [...select.options].some((o) => Number(o.value) === value);
      if (!known) select.append(new Option(value === MISSING ? "(missing)" : "(any other)", value));
      select.value = String(value);
    };
  }

  number(column, i, row) {
    const { name, low, high, whole, kind } = column;
    const slider = child("input", ""), box = child("input", "");
    slider.type = "range";
    slider.min = low;
    slider.max = high;
    slider.step = whole ? 1 : "any";
    slider.setAttribute("aria-label", `${name}, slider`);
    box.type = kind === "date" ? "date" : "number";
    if (kind !== "date") box.step = "any";
    box.id = `amp-input-${i}`;
    slider.autocomplete = box.autocomplete = "off";
    slider.addEventListener("input", () => this.set(i, Number(slider.value)));
    box.addEventListener("change", () => {
      const value = kind === "date" ? box.valueAsNumber / DAY : box.valueAsNumber;
      if (Number.isFinite(value)) this.set(i, value);
      else this.inputs[i].show(this.values[i]);
    });
    slider.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
      if (whole || !step) return;  // "any" has no step of its own for the keys
      event.preventDefault();
      const value = Number(slider.value) + step * (high - low) / 100;
      this.set(i, Math.max(low, Math.min(high, value)));
    });
    row.append(slider, box);
    const missing = column.missing ? this.missing(column, i, row) : null;
    return (value) => {
      const absent = Number.isNaN(value);
      if (missing) missing.checked = absent;
      if (absent) {
        box.value = "";
        return;
      }
      slider.value = value;
      slider.setAttribute("aria-valuetext", kind === "date" ? dateText(value) : figure(value));
      if (kind === "date") box.valueAsNumber = Math.floor(value) * DAY;
      else box.value = Number(value.toPrecision(6));
    };
  }

  missing({ name, start }, i, row) {
    const check = child("input", ""), label = child("label", "");
    check.type = "checkbox";
    check.autocomplete = "off";
    check.setAttribute("aria-label", `${name} is missing`);
    check.addEventListener("change", () => {
      if (check.checked) this.kept = { ...this.kept, [i]: this.values[i] };
      this.set(i, check.checked ? NaN : this.kept?.[i] ?? start);
    });
    label.append(check, " missing");
    row.append(label);
    return check;
  }
}

const dateText = (days) => new Date(days * DAY).toISOString().slice(0, 10);
