// The outputs: a bar for each class or column, or the predicted numbers.

const BARS = 12;  // at most; of more classes the most probable ones

class Outputs {
  constructor(model, networks) {
    Object.assign(this, { model, networks });
  }

  // The names of the classes or columns that are predicted, in words.
  answer({ mean }) {
    const { decides, outputs, classes } = this.model;
    if (decides === "no") return mean.length === 1 ? `${outputs[0]}: ${figure(mean[0])}` : "";
    if (decides === "each" && classes === null) {
      const chosen = outputs.filter((_, j) => mean[j] > 0.5);
      return chosen.length ? chosen.join(", ") : "none";
    }
    return `${outputs[best(mean)]}, ${percent(mean[best(mean)])}`;
  }

  paint(prediction) {
    const { decides, outputs } = this.model, { mean, spread } = prediction;
    element("answer").textContent = this.answer(prediction);
    const order = [...mean.keys()];
    if (mean.length > BARS && decides !== "no") order.sort((a, b) => mean[b] - mean[a]);
    const shown = decides === "no" ? order : order.slice(0, BARS);
    const colour = "var(--link)";
    const items = decides === "no"
      ? shown.map((j) => numberItem(outputs[j], mean[j], spread[j], this.networks > 1))
      : shown.map((j) => barItem(outputs[j], mean[j], percent(mean[j]), colour, j === best(mean)));
    element("bars").replaceChildren(...items);
    const several = this.networks > 1 ? `The mean of ${this.networks} networks.` : "";
    const some = shown.length < mean.length ? ` The ${BARS} most probable of ${mean.length}.` : "";
    element("spread").textContent = several + some;
  }
}

function numberItem(name, mean, spread, several) {
  const text = figure(mean) + (several ? ` \u00b1 ${figure(spread)}` : "");
  const item = child("li", "", "amp-number");
  item.append(child("span", name, "amp-name"), child("span", text, "amp-value"));
  return item;
}

const best = (values) => values.reduce((a, v, j) => (v > values[a] ? j : a), 0);
