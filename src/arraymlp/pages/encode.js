// A row of a table as features, as arraymlp/data/encoding has it. A row of a page is a number for
// each column: NaN for a missing number, for a category its position, or one of these:

const MISSING = -1, OTHER = -2;
const FARTHEST = 1e30;  // deviations from the mean

const within = (limit, x) => Math.max(Math.min(x, limit), -limit);

// The features of a finite number x, by the kind of its map.
const NUMBER_MAPS = {
  standardize: (map, x) => [within(FARTHEST, (x - map.mean) * (1 / map.deviation))],
  smooth_clip: (map, x) => {
    const z = within(FARTHEST, (x - map.centre) * (1 / map.scale));
    return [z / Math.sqrt(1 + (z / 3) ** 2)];
  },
  piecewise: (map, x) => piecewise(map, x),
  mixed: ({ number, bins }, x) => {
    const bounded = Math.max(Math.min(x, bins.edges[bins.edges.length - 1]), bins.edges[0]);
    const first = NUMBER_MAPS.standardize(number, bounded);
    if (bins.means.length === 1) return first;
    return [...first, ...piecewise(bins, x).map((part) => part / 2)];
  },
  quantile: ({ knots, scores }, x) => {
    const last = knots.length - 1;
    if (x <= knots[0]) return [scores[0]];
    if (x >= knots[last]) return [scores[last]];
    const k = knots.findIndex((knot) => knot > x) - 1;
    const part = (x - knots[k]) / (knots[k + 1] - knots[k]);
    return [scores[k] + part * (scores[k + 1] - scores[k])];
  },
  nothing: () => [],
};

// For each bin what part of it is below x, less its mean.
function piecewise({ edges, means }, x) {
  return means.map((mean, t) => {
    const part = (x - edges[t]) / (edges[t + 1] - edges[t]);
    return Math.max(Math.min(part, 1), 0) - mean;
  });
}

function encodeNumber({ map, fill, indicator }, x) {
  const missing = Number.isNaN(x);
  const features = NUMBER_MAPS[map.kind](map, missing ? fill : x);
  return indicator ? [...features, missing ? 1 : 0] : features;
}

// A 1 for the category that the row has; else for a missing one, or for any other.
function encodeCategory(column, cell, values) {
  const width = column.values.length + column.missing + column.other;
  const features = new Array(width).fill(0);
  let at = column.values.indexOf(values[cell]);
  if (cell === MISSING && column.missing) at = column.values.length;
  else if (at < 0 && column.other) at = width - 1;
  if (at >= 0) features[at] = 1;
  return features;
}

// The features of a row: `columns` are the page's, in the order of the cells.
function encode(encoding, cells, columns) {
  const features = [];
  for (const column of encoding.columns) {
    const at = columns.findIndex(({ name }) => name === column.name);
    features.push(...(column.kind === "categories"
      ? encodeCategory(column, cells[at], columns[at].values)
      : encodeNumber(column, cells[at])));
  }
  return Float64Array.from([...features, ...new Array(encoding.padding).fill(0)]);
}
