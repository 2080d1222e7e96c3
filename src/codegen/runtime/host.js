// @ts-check
/**
 * Ops whose result's size depends on data, in JavaScript: what of them has no form on the GPU. Each
 * function stands alone, since a module embeds only those it calls. A tensor is `dims` and its
 * elements as numbers, row-major; a truth value is 0 or 1.
 */

/** @typedef {{ dims: readonly number[], data: ArrayLike<number> }} HostTensor */

/**
 * ONNX NonZero: the indices of the elements that aren't 0, a row for each dimension.
 * @param {readonly (HostTensor | null)[]} inputs the tensor
 * @returns {HostTensor[]} one tensor, [rank, count]
 */
export function nonZero(inputs) {
  const { dims, data } = /** @type {HostTensor} */ (inputs[0]);
  /** @type {number[]} */
  const found = [];
  for (let i = 0; i < data.length; i++) if (data[i] !== 0) found.push(i);
  const count = found.length;
  const rows = new Int32Array(dims.length * count);
  let stride = 1;
  for (let d = dims.length - 1; d >= 0; d--) {
    const extent = dims[d] ?? 1;
    for (let k = 0; k < count; k++) {
      rows[d * count + k] = Math.floor((found[k] ?? 0) / stride) % extent;
    }
    stride *= extent;
  }
  return [{ dims: [dims.length, count], data: rows }];
}

/**
 * ONNX Unique: which elements, or slices along an axis, differ from all before them. NaNs are one
 * value, the greatest.
 * @param {readonly (HostTensor | null)[]} inputs the tensor
 * @param {readonly (number | string | readonly number[])[]} settings the axis, or -1 for the
 *   elements of the whole tensor; 1 for the order of the values, 0 for that of first occurrence
 * @returns {HostTensor[]} of each unique slice the first position and the number of occurrences, of
 *   each slice the number of its unique one
 */
export function unique(inputs, settings) {
  const { dims, data } = /** @type {HostTensor} */ (inputs[0]);
  const [axis, sorted] = /** @type {[number, number]} */ (settings);
  const product = (/** @type {readonly number[]} */ list) => list.reduce((a, b) => a * b, 1);
  const slices = axis < 0 ? data.length : dims[axis] ?? 1;
  const outer = axis < 0 ? 1 : product(dims.slice(0, axis));
  const inner = axis < 0 ? 1 : product(dims.slice(axis + 1));
  const compare = (/** @type {number} */ a, /** @type {number} */ b) => {
    for (let i = 0; i < outer; i++) {
      for (let k = 0; k < inner; k++) {
        const x = data[(i * slices + a) * inner + k] ?? 0;
        const y = data[(i * slices + b) * inner + k] ?? 0;
        if (x < y || (x === x && y !== y)) return -1;
        if (x > y || (x !== x && y === y)) return 1;
      }
    }
    return 0;
  };
  const order = Array.from({ length: slices }, (_, i) => i)
    .sort((a, b) => compare(a, b) || a - b);
  /** @type {{ first: number, members: number[] }[]} */
  const groups = [];
  for (const slice of order) {
    const last = groups[groups.length - 1];
    if (last !== undefined && compare(last.first, slice) === 0) last.members.push(slice);
    else groups.push({ first: slice, members: [slice] });
  }
  if (sorted === 0) groups.sort((a, b) => a.first - b.first);
  const inverse = new Int32Array(slices);
  groups.forEach((group, i) => {
    for (const member of group.members) inverse[member] = i;
  });
  const count = groups.length;
  return [
    { dims: [count], data: Int32Array.from(groups, (group) => group.first) },
    { dims: [count], data: Int32Array.from(groups, (group) => group.members.length) },
    { dims: [slices], data: inverse },
  ];
}

/**
 * ONNX NonMaxSuppression: of each batch and class the boxes in the order of their scores, without
 * those that overlap a box before them by more than a threshold.
 * @param {readonly (HostTensor | null)[]} inputs boxes [batch, box, 4]; scores [batch, class, box];
 *   the most boxes of a class, the greatest overlap and the least score, each a scalar or null
 * @param {readonly (number | string | readonly number[])[]} settings 1 where boxes are given by
 *   center and size, 0 where by two corners
 * @returns {HostTensor[]} rows of batch, class and box
 */
export function nonMaxSuppression(inputs, settings) {
  const [boxes, scores, most, overlap, least] = inputs;
  const { data: corners } = /** @type {HostTensor} */ (boxes);
  const { dims, data: values } = /** @type {HostTensor} */ (scores);
  const [batches = 0, classes = 0, count = 0] = dims;
  const limit = Math.max(0, most?.data[0] ?? 0);
  const threshold = overlap?.data[0] ?? 0;
  const lowest = least?.data[0] ?? null;
  const boxOf = (/** @type {number} */ at) => {
    const [a = 0, b = 0, c = 0, d = 0] = [0, 1, 2, 3].map((i) => corners[4 * at + i] ?? 0);
    return settings[0] === 1
      ? { top: b - d / 2, bottom: b + d / 2, left: a - c / 2, right: a + c / 2 }
      : {
        top: Math.min(a, c),
        bottom: Math.max(a, c),
        left: Math.min(b, d),
        right: Math.max(b, d),
      };
  };
  /** @typedef {ReturnType<typeof boxOf>} Box */
  const area = (/** @type {Box} */ box) => (box.bottom - box.top) * (box.right - box.left);
  const overlaps = (/** @type {Box} */ a, /** @type {Box} */ b) => {
    const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    if (!(height > 0 && width > 0)) return false;
    const both = height * width;
    return both / (area(a) + area(b) - both) > threshold;
  };
  /** @type {number[]} */
  const rows = [];
  for (let batch = 0; batch < batches; batch++) {
    const places = Array.from({ length: count }, (_, i) => boxOf(batch * count + i));
    for (let label = 0; label < classes; label++) {
      const score = (/** @type {number} */ i) => values[(batch * classes + label) * count + i] ?? 0;
      const order = places.map((_, i) => i)
        .filter((i) => lowest === null || score(i) > lowest)
        .sort((a, b) => score(b) - score(a) || a - b);
      /** @type {Box[]} */
      const kept = [];
      for (const i of order) {
        if (kept.length >= limit) break;
        const box = /** @type {Box} */ (places[i]);
        if (kept.some((other) => overlaps(other, box))) continue;
        kept.push(box);
        rows.push(batch, label, i);
      }
    }
  }
  return [{ dims: [rows.length / 3, 3], data: Int32Array.from(rows) }];
}

/**
 * ONNX Det: determinants of the matrices in the last two dimensions, by elimination with pivots.
 * @param {readonly (HostTensor | null)[]} inputs square matrices
 * @returns {HostTensor[]} one number a matrix
 */
export function determinant(inputs) {
  const { dims, data } = /** @type {HostTensor} */ (inputs[0]);
  const size = dims[dims.length - 1] ?? 0;
  const outer = dims.slice(0, -2);
  const count = outer.reduce((product, extent) => product * extent, 1);
  const results = new Float32Array(count);
  for (let matrix = 0; matrix < count; matrix++) {
    const rows = Array.from(
      { length: size },
      (_, i) =>
        Float64Array.from({ length: size }, (_, j) => data[(matrix * size + i) * size + j] ?? 0),
    );
    let product = 1;
    for (let column = 0; column < size && product !== 0; column++) {
      const at = (/** @type {number} */ row) => rows[row]?.[column] ?? 0;
      let pivot = column;
      for (let row = column + 1; row < size; row++) {
        if (Math.abs(at(row)) > Math.abs(at(pivot))) pivot = row;
      }
      const chosen = /** @type {Float64Array<ArrayBuffer>} */ (rows[pivot]);
      rows[pivot] = /** @type {Float64Array<ArrayBuffer>} */ (rows[column]);
      rows[column] = chosen;
      const head = chosen[column] ?? 0;
      product *= pivot === column ? head : -head;
      if (head === 0) break;
      for (let row = column + 1; row < size; row++) {
        const target = /** @type {Float64Array<ArrayBuffer>} */ (rows[row]);
        const factor = at(row) / head;
        for (let j = column; j < size; j++) {
          target[j] = (target[j] ?? 0) - factor * (chosen[j] ?? 0);
        }
      }
    }
    results[matrix] = product;
  }
  return [{ dims: outer, data: results }];
}

/**
 * Which elements a Dropout with a seed keeps, as ONNX's reference implementation draws them: numbers
 * from 0 up to 1 of the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), 53 bits of two words
 * each, kept from the ratio on.
 * @param {readonly (HostTensor | null)[]} inputs the number of elements; the ratio of those to drop
 * @param {readonly (number | string | readonly number[])[]} settings the seed
 * @returns {HostTensor[]} a truth value each
 */
export function keptByTwister(inputs, settings) {
  const [count, ratio] = inputs.map((input) => input?.data[0] ?? 0);
  const length = count ?? 0;
  const state = new Uint32Array(624);
  state[0] = /** @type {number} */ (settings[0]);
  for (let i = 1; i < 624; i++) {
    const before = state[i - 1] ?? 0;
    state[i] = Math.imul(before ^ (before >>> 30), 1812433253) + i;
  }
  let next = 624;
  const word = () => {
    if (next === 624) {
      for (let i = 0; i < 624; i++) {
        const joined = ((state[i] ?? 0) & 0x80000000) | ((state[(i + 1) % 624] ?? 0) & 0x7fffffff);
        const mixed = (joined >>> 1) ^ ((joined & 1) * 0x9908b0df);
        state[i] = (state[(i + 397) % 624] ?? 0) ^ mixed;
      }
      next = 0;
    }
    let value = state[next++] ?? 0;
    value ^= value >>> 11;
    value ^= (value << 7) & 0x9d2c5680;
    value ^= (value << 15) & 0xefc60000;
    return (value ^ (value >>> 18)) >>> 0;
  };
  const data = new Uint32Array(length);
  for (let i = 0; i < length; i++) {
    const high = word() >>> 5;
    data[i] = (high * 67108864 + (word() >>> 6)) / 9007199254740992 >= (ratio ?? 0) ? 1 : 0;
  }
  return [{ dims: [length], data }];
}
