// The network, forward, as arraymlp/nn/layer.py, activations.py, scaling.py and losses.py have it.
// Numbers are computed in double precision, of weights as they are.

const LEAK = 0.01;
const GELU_SCALE = Math.sqrt(2 / Math.PI), GELU_CUBIC = 0.044715;
const ACTIVE = 1e-3;  // |f'(s)| up to this lets almost nothing back: the unit is off for that row

const sigmoid = (s) => 1 / (1 + Math.exp(-s));
const geluTanh = (s) => Math.tanh(GELU_SCALE * (s + GELU_CUBIC * s ** 3));

// Each activation as f(s), and its slope f'(s), of which z = f(s) is given, too.
const ACTIVATIONS = {
  identity: { f: (s) => s, slope: () => 1 },
  sigmoid: { f: sigmoid, slope: (s, z) => z * (1 - z) },
  tanh: { f: Math.tanh, slope: (s, z) => 1 - z * z },
  relu: { f: (s) => Math.max(s, 0), slope: (s) => (s > 0 ? 1 : 0) },
  leaky_relu: { f: (s) => Math.max(s, LEAK * s), slope: (s) => (s > 0 ? 1 : LEAK) },
  elu: {
    f: (s) => Math.max(s, 0) + Math.expm1(Math.min(s, 0)),
    slope: (s, z) => 1 + Math.min(z, 0),
  },
  // log(1 + e^s) = max(s, 0) + log(1 + e^-|s|), whose exponent is never positive.
  softplus: { f: (s) => Math.max(s, 0) + Math.log1p(Math.exp(-Math.abs(s))), slope: sigmoid },
  gelu: {
    f: (s) => s * (0.5 * (1 + geluTanh(s))),
    slope: (s) => {
      const t = geluTanh(s);
      const u = GELU_SCALE * (1 + 3 * GELU_CUBIC * s * s);
      return 0.5 * (1 + t) + (t * t === 1 ? 0 : 0.5 * s * (1 - t * t) * u);
    },
  },
  silu: {
    f: (s) => (s === -Infinity ? 0 : s * sigmoid(s)),
    slope: (s, z) => sigmoid(s) + z * (1 - sigmoid(s)),
  },
};

// S = X W + b,  Z = f(S): one row of inputs x through a layer with W of shape (nIn, nOut).
function layerForward({ weights: W, bias: b, nIn, nOut, activation }, x) {
  const s = Float64Array.from(b);
  for (let i = 0; i < nIn; i++) {
    const row = i * nOut, xi = x[i];
    for (let j = 0; j < nOut; j++) s[j] += xi * W[row + j];
  }
  return { x, s, z: s.map((v) => ACTIVATIONS[activation].f(v)) };
}

// All layers of a network, for a row of a page; the last one's z are the logits. What is known of
// the row's features, by the encoding that makes them, is not worked out again.
function forward(network, cells, columns, known = new Map([[null, cells]])) {
  const { encoding } = network;
  if (!known.has(encoding)) known.set(encoding, encode(encoding, cells, columns));
  let x = standardized(network.inputs, known.get(encoding));
  const caches = [];
  for (const layer of network.layers) {
    const cache = layerForward(layer, x);
    caches.push(cache);
    x = cache.z;
  }
  return caches;
}

// x -> (x - mean) / scale, column by column; unchanged where there is no scaling.
function standardized(scaling, x) {
  if (scaling === null) return x;
  return Float64Array.from(x, (v, i) => (v - scaling.mean[i]) / scaling.scale[i]);
}

// The inverse, of logits, of which several may belong to a target.
function undone(scaling, s, perTarget) {
  if (scaling === null) return s;
  const target = (j) => Math.floor(j / perTarget);
  return s.map((v, j) => v * scaling.scale[target(j)] + scaling.mean[target(j)]);
}

// p_j = e^s_j / sum_k e^s_k, of s less its maximum, so that no e^s overflows.
function softmax(s) {
  const greatest = s.reduce((a, b) => Math.max(a, b), -Infinity);
  const e = s.map((v) => Math.exp(v - greatest));
  const total = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / total);
}

// Each target's quantiles in ascending order, which Float64Array sorts by.
function ascending(s, perTarget) {
  const sorted = s.slice();
  for (let j = 0; j < s.length; j += perTarget) sorted.subarray(j, j + perTarget).sort();
  return sorted;
}

// The outputs that a loss makes of logits: probabilities, rates, quantiles, or the logits.
const OUTPUTS = {
  softmax_cross_entropy: softmax,
  capped_softmax_cross_entropy: softmax,
  binary_cross_entropy: (s) => s.map(sigmoid),
  capped_binary_cross_entropy: (s) => s.map(sigmoid),
  squared_error: (s) => s,
  absolute_error: (s) => s,
  huber: (s) => s,
  poisson: (s, { largest }) => {
    const limit = Math.log(largest / (4 * s.length));
    return s.map((v) => Math.exp(Math.min(v, limit)));
  },
  quantile: (s, { perTarget }) => ascending(s, perTarget),
};

// What one network predicts of its logits: probabilities of the classes, or numbers.
function predicted(network, logits, classes) {
  const s = undone(network.outputs, logits, network.perTarget);
  const y = OUTPUTS[network.loss](s, network);
  const two = classes !== null && classes.length === 2 && y.length === 1;
  return two ? Float64Array.of(1 - y[0], y[0]) : y;
}

// The mean of all networks' predictions, and their standard deviation over the networks.
function ensemble(networks, cells, columns, classes) {
  const known = new Map([[null, cells]]);
  const each = networks.map((network) => {
    const caches = forward(network, cells, columns, known);
    return predicted(network, caches[caches.length - 1].z, classes);
  });
  const mean = each[0].map((_, j) => each.reduce((sum, y) => sum + y[j], 0) / each.length);
  const spread = mean.map((m, j) =>
    Math.sqrt(each.reduce((sum, y) => sum + (y[j] - m) ** 2, 0) / each.length));
  return { mean, spread };
}
