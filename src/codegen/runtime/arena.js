// @ts-check
/**
 * Places activations in as little memory as their lifetimes allow: greedy by size (Pisarchyk and
 * Lee, "Efficient memory management for deep neural net inference", 2020), and where that leaves a
 * tenth of slack, also by time of birth, whichever is smaller.
 */

/**
 * @typedef {{ bin: number, offset: number }} Place where a tensor lies: which buffer, which byte
 * @typedef {object} ArenaItem
 * @property {number} bytes
 * @property {number} first index of the first step that touches it
 * @property {number} last index of the last step, at least `first`
 * @property {Place | null} [place] a place that it has already and keeps
 */

/**
 * The place of each item, the bytes of each buffer, and the most bytes alive at once. An item of 0
 * bytes takes one unit of alignment. Throws a RangeError for an item larger than `capacity`.
 * @param {readonly ArenaItem[]} items
 * @param {number} alignment bytes that offsets are multiples of
 * @param {number} capacity bytes that a buffer may have
 * @returns {{ places: Place[], bins: number[], bound: number }}
 */
export function planArena(items, alignment, capacity) {
  const sizes = items.map((item) => Math.max(1, Math.ceil(item.bytes / alignment)) * alignment);
  const order = items.map((_, i) => i);
  const size = (/** @type {number} */ i) => Number(sizes[i]);
  const birth = (/** @type {number} */ i) => Number(items[i]?.first);
  order.sort((a, b) => size(b) - size(a) || birth(a) - birth(b));
  const slack = liveBytes(items, sizes) * 1.1;
  const bound = liveBytes(items, items.map((item) => item.bytes));
  const best = placeInOrder(items, sizes, order, capacity);
  const total = (/** @type {{ bins: number[] }} */ plan) => plan.bins.reduce((a, b) => a + b, 0);
  if (total(best) > slack) {
    order.sort((a, b) => birth(a) - birth(b) || size(b) - size(a));
    const other = placeInOrder(items, sizes, order, capacity);
    if (total(other) < total(best)) return { ...other, bound };
  }
  return { ...best, bound };
}

/**
 * @param {readonly ArenaItem[]} items
 * @param {readonly number[]} sizes
 * @param {readonly number[]} order
 * @param {number} capacity
 */
function placeInOrder(items, sizes, order, capacity) {
  /** @type {Place[]} */
  const places = new Array(items.length);
  /** @type {number[]} */
  const bins = [];
  /** @type {{ start: number, end: number, first: number, last: number }[][]} */
  const placed = [];
  const put = (/** @type {number} */ i, /** @type {Place} */ place) => {
    const item = items[i];
    if (item === undefined) return;
    while (bins.length <= place.bin) {
      bins.push(0);
      placed.push([]);
    }
    const end = place.offset + Number(sizes[i]);
    bins[place.bin] = Math.max(Number(bins[place.bin]), end);
    const list = placed[place.bin] ?? [];
    let at = list.length;
    while (at > 0 && Number(list[at - 1]?.start) > place.offset) at--;
    list.splice(at, 0, { start: place.offset, end, first: item.first, last: item.last });
    places[i] = place;
  };
  items.forEach((item, i) => item.place && put(i, item.place));
  for (const i of order) {
    const item = items[i];
    if (item === undefined || item.place) continue;
    const bytes = Number(sizes[i]);
    if (bytes > capacity) throw new RangeError(`${bytes} bytes in buffers of ${capacity}`);
    /** @type {Place | null} */
    let place = null;
    for (let bin = 0; place === null; bin++) {
      // The tightest gap between those alive at the same time, else behind the last of them.
      let end = 0;
      let gap = Infinity;
      let offset = -1;
      for (const other of placed[bin] ?? []) {
        if (other.last < item.first || other.first > item.last) continue;
        if (other.start - end >= bytes && other.start - end < gap) {
          gap = other.start - end;
          offset = end;
        }
        end = Math.max(end, other.end);
      }
      if (offset < 0 && end + bytes <= capacity) offset = end;
      if (offset >= 0) place = { bin, offset };
    }
    put(i, place);
  }
  return { places, bins };
}

/**
 * The most bytes that are alive at one step.
 * @param {readonly ArenaItem[]} items
 * @param {readonly number[]} sizes
 * @returns {number}
 */
function liveBytes(items, sizes) {
  const events = items.flatMap((item, i) => [
    { at: item.first, bytes: Number(sizes[i]) },
    { at: item.last + 0.5, bytes: -Number(sizes[i]) },
  ]);
  events.sort((a, b) => a.at - b.at);
  let live = 0;
  let most = 0;
  for (const event of events) {
    live += event.bytes;
    most = Math.max(most, live);
  }
  return most;
}
