// The epochs of a run: a slider, its curves, and what was measured at the end of each.

const PACE = 700;  // milliseconds an epoch, while it plays
const [WIDTH, HEIGHT, LEFT, BOTTOM, EDGE] = [360, 170, 76, 24, 10];  // of the curves
const DECADES = 1000;  // the range of a logarithmic axis; what is lower is drawn at its end

class Course {
  // `moved` is called when another epoch is looked at.
  constructor(model, colours, moved) {
    Object.assign(this, { course: model.course, widths: model.stacks[0].layers, colours, moved });
    const { stops, curves } = this.course;
    this.stop = stops.length - 1;
    element("course").hidden = stops[this.stop].epoch === null || (!curves.length && !this.stop);
    element("epochs").hidden = stops.length < 2;
    element("play").hidden = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const slider = element("epoch");
    slider.max = stops.length - 1;
    slider.value = this.stop;
    slider.oninput = () => this.go(Number(slider.value));
    element("back").onclick = () => this.go(this.stop - 1);
    element("forth").onclick = () => this.go(this.stop + 1);
    element("play").onclick = () => (this.timer ? this.pause() : this.play());
    element("rounded").textContent = stops.length < 2 ? ""
      : "The weights of earlier epochs are rounded to 8 bits, unit by unit; those of the last are "
        + "exact. Errors, live units and findings are the training's own.";
    this.pause();
    this.paint();
  }

  go(stop) {
    this.stop = Math.max(0, Math.min(this.course.stops.length - 1, stop));
    element("epoch").value = this.stop;
    this.paint();
    this.moved();
  }

  play() {
    const end = this.course.stops.length - 1;
    if (this.stop === end) this.go(0);
    this.timer = setInterval(() => {
      this.go(this.stop + 1);
      if (this.stop === end) this.pause();
    }, PACE);
    element("play").textContent = "Pause";
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    element("play").textContent = "Play";
  }

  paint() {
    const { stops, curves, epochs, findings, percent: parts, probed } = this.course;
    const { epoch, step, live, liveStep, findings: here = [] } = stops[this.stop];
    if (epoch === null) return;
    const at = epochs.lastIndexOf(epoch);
    const figures = curves.map(({ label, values }) =>
      `${label} ${parts ? percentOf(values[at]) : figureOf(values[at])}`);
    const { restored } = this.course, last = this.stop === stops.length - 1;
    element("when").textContent = epoch < 0 ? "Before the first step"
      : last && restored ? `As early stopping left it, with the weights of ${restored}`
        : `After epoch ${epoch}, ${step.toLocaleString("en")} steps: ${figures.join(", ")}`;
    element("epoch").setAttribute("aria-valuetext", epoch < 0 ? "as drawn" : `epoch ${epoch}`);
    element("live").textContent = live ? live.map((part, i) =>
      `layer ${i + 1}: ${part === null ? "?" : Number((part * this.widths[i].nOut).toFixed(1))} of `
      + `${this.widths[i].nOut} units live`).join(", ")
      + `, on the probes' sample at step ${liveStep.toLocaleString("en")}`
      : probed && epoch < 0 ? "Live units were not measured before the first step." : "";
    const items = here.map((i) => {
      const item = child("li", "");
      item.append(child("b", findings[i].kind), ` ${findings[i].sentence}`);
      return item;
    });
    const more = items.length - 1;
    element("findings").replaceChildren(...items.slice(0, 1));
    element("other-findings").replaceChildren(...items.slice(1));
    element("more").hidden = more < 1;
    element("more-said").textContent = more === 1 ? "1 more finding" : `${more} more findings`;
    element("curve").replaceChildren();
    if (curves.length && epochs.length > 1) this.curve(epoch);
  }

  curve(epoch) {
    const { curves, epochs, percent: parts } = this.course;
    const all = curves.flatMap(({ values }) => values.filter((v) => v !== null));
    const top = all.reduce((a, b) => Math.max(a, b)), least = all.reduce((a, b) => Math.min(a, b));
    const log = least > 0 && top > 20 * least, low = log ? Math.max(least, top / DECADES) : Math.min(0, least);
    const y = (v) => {
      const part = log ? Math.log(Math.max(v, low) / low) / Math.log(top / low) : (v - low) / (top - low || 1);
      return HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - EDGE);
    };
    const [first, last] = [epochs[0], epochs[epochs.length - 1]];
    const x = (e) => LEFT + (e - first) / (last - first || 1) * (WIDTH - LEFT - EDGE);
    const names = curves.map(({ label }) => label).join(" and ");
    const svg = svgChild(element("curve"), "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
      "aria-label": `${names} by epoch${log ? ", on a logarithmic axis" : ""}` });
    svgChild(svg, "path", { class: "amp-axis", fill: "none",
      d: `M${LEFT} ${EDGE}V${HEIGHT - BOTTOM}H${WIDTH - EDGE}` });
    const text = parts ? percentOf : figureOf;
    for (const v of [low, top]) {
      const below = v === low && least < low ? "≤ " : "";
      svgChild(svg, "text", { x: LEFT - 4, y: y(v) + 4, "text-anchor": "end" }, below + text(v));
    }
    for (const [e, anchor] of [[first, "start"], [last, "end"]]) {
      svgChild(svg, "text", { x: x(e), y: HEIGHT - 8, "text-anchor": anchor }, `epoch ${e}`);
    }
    curves.forEach(({ values }, i) => {
      const points = values.map((v, j) => (v === null ? " " : `${x(epochs[j])},${y(v)}`));
      svgChild(svg, "polyline", { points: points.join(" "), fill: "none", "stroke-width": 2,
        stroke: this.colours[i % this.colours.length] });
    });
    if (epoch >= 0) {
      svgChild(svg, "path", { class: "amp-marker", d: `M${x(epoch)} ${EDGE}V${HEIGHT - BOTTOM}` });
    }
    const legend = child("p", "", "amp-note");
    curves.forEach(({ label }, i) =>
      legend.append(swatch(label, this.colours[i % this.colours.length])));
    element("curve").append(legend);
  }
}

// Figures of the history, in which some may be absent.
const known = (text) => (v) => (v === undefined || v === null ? "unknown" : text(v));
const percentOf = known((v) => `${Number((100 * v).toPrecision(3))} %`);
const figureOf = known(figure);
