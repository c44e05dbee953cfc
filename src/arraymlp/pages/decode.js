// The page's numbers: arrays in one deflated block each, as arraymlp/pages/packing.py wrote them,
// and weights, as weights.py did.

const TYPES = {
  int8: Int8Array, uint8: Uint8Array, float32: Float32Array, float64: Float64Array,
};

// The bytes of a text in base64 that are deflated.
async function inflated(text) {
  const characters = atob(text.trim()), packed = new Uint8Array(characters.length);
  for (let i = 0; i < packed.length; i++) packed[i] = characters.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The array at a place of a block, whose bytes stand plane by plane.
function arrayAt(block, [name, start, n]) {
  const Kind = TYPES[name], size = Kind.BYTES_PER_ELEMENT;
  const bytes = new Uint8Array(n * size);  // the first byte is the least, as in every browser
  for (let plane = 0; plane < size; plane++) {
    const from = start + plane * n;
    for (let i = 0; i < n; i++) bytes[i * size + plane] = block[from + i];
  }
  return new Kind(bytes.buffer);
}

// A stack's networks, with the weights of its last snapshot.
function networksOf(stack, block) {
  const { members: K, inputs, outputs, encoding, loss, perTarget, largest } = stack;
  const part = (array, k) => array.subarray(k * array.length / K, (k + 1) * array.length / K);
  const scalings = (place) => place && { mean: arrayAt(block, place.mean),
    scale: arrayAt(block, place.scale) };
  const scaling = (all, k) => all && { mean: part(all.mean, k), scale: part(all.scale, k) };
  const [ins, outs] = [scalings(inputs), scalings(outputs)];
  const layers = stack.layers.map((layer) => ({ ...layer,
    weights: arrayAt(block, layer.weights), bias: arrayAt(block, layer.bias) }));
  return Array.from({ length: K }, (_, k) => ({
    encoding, loss, perTarget, largest,
    inputs: scaling(ins, k),
    outputs: scaling(outs, k),
    layers: layers.map((layer) => ({ ...layer,
      weights: part(layer.weights, k), bias: part(layer.bias, k) })),
  }));
}

// The weights (K, nIn, nOut) as whole multiples of the scales (K, nOut), as weights.py rounds.
function roundedTo(scales, weights, { nIn, nOut }) {
  const multiples = new Int8Array(weights.length);
  for (let at = 0; at < weights.length; at++) {
    const k = Math.floor(at / (nIn * nOut));
    multiples[at] = Math.floor(weights[at] / scales[k * nOut + at % nOut] + 0.5);
  }
  return multiples;
}

// The inverse, of one network's multiples (nIn, nOut) and scales (nOut).
function unrounded(scales, multiples) {
  const weights = new Float32Array(multiples.length);
  for (let at = 0; at < weights.length; at++) {
    weights[at] = multiples[at] * scales[at % scales.length];
  }
  return weights;
}

// The multiples of a snapshot, of those of the next one, where they say by how much they differ.
function multiplesAt(block, { multiples, scale, differs }, { nOut, nIn }, next) {
  const own = arrayAt(block, multiples), scales = arrayAt(block, scale);
  for (let at = 0; differs && at < own.length; at++) {
    const unit = Math.floor(at / (nIn * nOut)) * nOut + at % nOut;
    own[at] += Math.floor(next.multiples[at] * (next.scales[unit] / scales[unit]) + 0.5);
  }
  return { multiples: own, scales };  // an Int8Array counts modulo 256
}

// A stack's networks after each snapshot, in order; the last ones are exact.
function snapshotsOf(stack, block) {
  const final = networksOf(stack, block);
  const all = [final];
  let next = stack.finalScales.map((place, i) => {
    if (place === null) return null;
    const scales = arrayAt(block, place), layer = stack.layers[i];
    return { scales, multiples: roundedTo(scales, arrayAt(block, layer.weights), layer) };
  });
  for (const layers of stack.earlier.slice().reverse()) {
    next = layers.map((layer, i) =>
      (layer.multiples ? multiplesAt(block, layer, stack.layers[i], next[i]) : null));
    all.unshift(earlierNetworks(final, layers, next, block));
  }
  return all;
}

// The networks with the weights of an earlier snapshot, which are made when first looked at.
function earlierNetworks(final, layers, rounded, block) {
  const earlierLayer = (layer, i, k) => {
    const { nIn, nOut } = layer;
    const part = (array, n) => array.subarray(k * n, (k + 1) * n);
    let weights = null;
    return { ...layer,
      bias: part(arrayAt(block, layers[i].bias), nOut),
      get weights() {
        weights ??= rounded[i] === null
          ? part(arrayAt(block, layers[i].weights), nIn * nOut)
          : unrounded(part(rounded[i].scales, nOut), part(rounded[i].multiples, nIn * nOut));
        return weights;
      } };
  };
  return final.map((network, k) => ({ ...network,
    layers: network.layers.map((layer, i) => earlierLayer(layer, i, k)) }));
}
