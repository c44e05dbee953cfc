// The outputs: a bar for each class or column, or the predicted numbers.

const BARS = 12;  // at most; of more classes the most probable ones

class Outputs {
  constructor(model, networks) {
    Object.assign(this, { model, networks });
  }

  // The class, the columns or the one number that is predicted, in words.
  answer({ mean, spread }) {
    const { decides, outputs, classes } = this.model;
    if (decides === "no") {
      return mean.length === 1 ? `${outputs[0]}: ${this.number(mean[0], spread[0])}` : "";
    }
    if (mean.some(Number.isNaN)) return "not a number";
    if (decides === "each" && classes === null) {
      const chosen = outputs.filter((_, j) => mean[j] > 0.5);
      return chosen.length ? chosen.join(", ") : "none";
    }
    return `${outputs[best(mean)]}, ${percent(mean[best(mean)])}`;
  }

  paint(prediction) {
    const { decides, outputs } = this.model, { mean, spread } = prediction;
    const listed = decides !== "no" || mean.length > 1;
    element("answer").textContent = this.answer(prediction);
    const order = [...mean.keys()];
    if (mean.length > BARS && decides !== "no") order.sort((a, b) => mean[b] - mean[a]);
    const shown = decides === "no" ? order : order.slice(0, BARS);
    const colour = "var(--link)";
    const items = decides === "no"
      ? shown.map((j) => numberItem(outputs[j], this.number(mean[j], spread[j])))
      : shown.map((j) => barItem(outputs[j], mean[j], percent(mean[j]), colour, j === best(mean)));
    element("bars").replaceChildren(...(listed ? items : []));
    const several = this.networks > 1 ? `The mean of ${this.networks} networks.` : "";
    const some = shown.length < mean.length ? ` The ${BARS} most probable of ${mean.length}.` : "";
    element("spread").textContent = several + some;
  }

  // A number, and its standard deviation over the networks.
  number(mean, spread) {
    return figure(mean) + (this.networks > 1 ? ` \u00b1 ${figure(spread)}` : "");
  }
}

function numberItem(name, text) {
  const item = child("li", "", "amp-number");
  item.append(child("span", name, "amp-name"), child("span", text, "amp-value"));
  return item;
}

const best = (values) => values.reduce((a, v, j) => (v > values[a] ? j : a), 0);
