// Attention without a matrix of scores: a thread goes over the keys 8 at a time with 4 queries, and
// keeps of each query the greatest score, the sum of exponentials and the weighted sum of values,
// which it scales down whenever a greater score appears (Milakov and Gimelshein, "Online normalizer
// calculation for softmax", 2018; Rabe and Staats, "Self-attention does not need O(n^2) memory",
// 2021).

override THREADS: u32 = 64u;
const LOWEST = -3.0e38;
const VALUE_VECTORS = (VALUE_SIZE + 3) / 4;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let tiles = (queries() + 3) / 4;
  let tile = i32((group.x + group.y * groups.x) * THREADS + thread);
  let all_heads = tile / tiles;
  let query = (tile - all_heads * tiles) * 4;
  let batch = all_heads / heads();
  let head = all_heads - batch * heads();
  if (batch >= batches()) { return; }
  // Queries and keys past the last are the last one, computed again and not used.
  let query1 = min(query + 1, queries() - 1);
  let query2 = min(query + 2, queries() - 1);
  let query3 = min(query + 3, queries() - 1);
  let whole = HEAD_SIZE & ~3;
  var greatest = vec4f(LOWEST);
  var total = vec4f();
  // [d / 4][query]
  var sums: array<vec4f, VALUE_VECTORS * 4>;
  for (var key = 0; key < keys(); key += 8) {
    let key1 = min(key + 1, keys() - 1);
    let key2 = min(key + 2, keys() - 1);
    let key3 = min(key + 3, keys() - 1);
    let key4 = min(key + 4, keys() - 1);
    let key5 = min(key + 5, keys() - 1);
    let key6 = min(key + 6, keys() - 1);
    let key7 = min(key + 7, keys() - 1);
    var score0 = vec4f();
    var score1 = vec4f();
    var score2 = vec4f();
    var score3 = vec4f();
    var score4 = vec4f();
    var score5 = vec4f();
    var score6 = vec4f();
    var score7 = vec4f();
    for (var d = 0; d < whole; d += 4) {
      let part0 = q4(batch, head, query, d);
      let part1 = q4(batch, head, query1, d);
      let part2 = q4(batch, head, query2, d);
      let part3 = q4(batch, head, query3, d);
      let with0 = k4(batch, head, key, d);
      score0 += core_dots(part0, part1, part2, part3, with0);
      let with1 = k4(batch, head, key1, d);
      score1 += core_dots(part0, part1, part2, part3, with1);
      let with2 = k4(batch, head, key2, d);
      score2 += core_dots(part0, part1, part2, part3, with2);
      let with3 = k4(batch, head, key3, d);
      score3 += core_dots(part0, part1, part2, part3, with3);
      let with4 = k4(batch, head, key4, d);
      score4 += core_dots(part0, part1, part2, part3, with4);
      let with5 = k4(batch, head, key5, d);
      score5 += core_dots(part0, part1, part2, part3, with5);
      let with6 = k4(batch, head, key6, d);
      score6 += core_dots(part0, part1, part2, part3, with6);
      let with7 = k4(batch, head, key7, d);
      score7 += core_dots(part0, part1, part2, part3, with7);
    }
    for (var d = whole; d < HEAD_SIZE; d++) {
      let part = vec4f(
        q(batch, head, query, d),
        q(batch, head, query1, d),
        q(batch, head, query2, d),
        q(batch, head, query3, d),
      );
      score0 += part * k(batch, head, key, d);
      score1 += part * k(batch, head, key1, d);
      score2 += part * k(batch, head, key2, d);
      score3 += part * k(batch, head, key3, d);
      score4 += part * k(batch, head, key4, d);
      score5 += part * k(batch, head, key5, d);
      score6 += part * k(batch, head, key6, d);
      score7 += part * k(batch, head, key7, d);
    }
    var scores = array<vec4f, 8>(
      score0,
      score1,
      score2,
      score3,
      score4,
      score5,
      score6,
      score7,
    );
    // A loop, because compilers copy the mask's hook into each call.
    for (var j = 0; j < 8; j++) {
      scores[j] = core_masked(scores[j], batch, head, query, key + j);
    }
    score0 = scores[0];
    score1 = scores[1];
    score2 = scores[2];
    score3 = scores[3];
    score4 = scores[4];
    score5 = scores[5];
    score6 = scores[6];
    score7 = scores[7];
    let greater = max(
      max(max(greatest, score0), max(score1, score2)),
      max(max(max(score3, score4), score5), max(score6, score7)),
    );
    let kept = exp(greatest - greater);
    greatest = greater;
    score0 = core_exponential(score0, greater);
    score1 = core_exponential(score1, greater);
    score2 = core_exponential(score2, greater);
    score3 = core_exponential(score3, greater);
    score4 = core_exponential(score4, greater);
    score5 = core_exponential(score5, greater);
    score6 = core_exponential(score6, greater);
    score7 = core_exponential(score7, greater);
    total = total * kept + score0 + score1 + score2 + score3 + score4 + score5 + score6 + score7;
    for (var i = 0; i < VALUE_VECTORS; i++) {
      var sum0 = sums[i * 4] * kept.x;
      var sum1 = sums[i * 4 + 1] * kept.y;
      var sum2 = sums[i * 4 + 2] * kept.z;
      var sum3 = sums[i * 4 + 3] * kept.w;
      let value0 = v4(batch, head, key, i * 4);
      sum0 += score0.x * value0;
      sum1 += score0.y * value0;
      sum2 += score0.z * value0;
      sum3 += score0.w * value0;
      let value1 = v4(batch, head, key1, i * 4);
      sum0 += score1.x * value1;
      sum1 += score1.y * value1;
      sum2 += score1.z * value1;
      sum3 += score1.w * value1;
      let value2 = v4(batch, head, key2, i * 4);
      sum0 += score2.x * value2;
      sum1 += score2.y * value2;
      sum2 += score2.z * value2;
      sum3 += score2.w * value2;
      let value3 = v4(batch, head, key3, i * 4);
      sum0 += score3.x * value3;
      sum1 += score3.y * value3;
      sum2 += score3.z * value3;
      sum3 += score3.w * value3;
      let value4 = v4(batch, head, key4, i * 4);
      sum0 += score4.x * value4;
      sum1 += score4.y * value4;
      sum2 += score4.z * value4;
      sum3 += score4.w * value4;
      let value5 = v4(batch, head, key5, i * 4);
      sum0 += score5.x * value5;
      sum1 += score5.y * value5;
      sum2 += score5.z * value5;
      sum3 += score5.w * value5;
      let value6 = v4(batch, head, key6, i * 4);
      sum0 += score6.x * value6;
      sum1 += score6.y * value6;
      sum2 += score6.z * value6;
      sum3 += score6.w * value6;
      let value7 = v4(batch, head, key7, i * 4);
      sum0 += score7.x * value7;
      sum1 += score7.y * value7;
      sum2 += score7.z * value7;
      sum3 += score7.w * value7;
      sums[i * 4] = sum0;
      sums[i * 4 + 1] = sum1;
      sums[i * 4 + 2] = sum2;
      sums[i * 4 + 3] = sum3;
    }
  }
  // A total is 1 or more, or 0, or NaN.
  let empty = total == vec4f();
  var share = 1.0 / total;
  if (UNDEFINED_ROWS == 1) {
    share = bitcast<vec4f>(select(bitcast<vec4u>(share), vec4u(0x7fc00000u), empty));
  } else {
    share = select(share, vec4f(), empty);
  }
  // Some adapters make infinity of the exponential of NaN.
  let undefined = (bitcast<vec4u>(total) & vec4u(0x7fffffffu)) >= vec4u(0x7f800000u);
  let dropped = undefined & vec4<bool>(UNDEFINED_ROWS == 2);
  for (var d = 0; d < VALUE_SIZE; d++) {
    let i = d / 4 * 4;
    let c = d & 3;
    let sum = vec4f(sums[i][c], sums[i + 1][c], sums[i + 2][c], sums[i + 3][c]);
    let values = select(sum * share, vec4f(), dropped);
    store(batch, head, query, d, values.x);
    if (query + 1 < queries()) { store(batch, head, query + 1, d, values.y); }
    if (query + 2 < queries()) { store(batch, head, query + 2, d, values.z); }
    if (query + 3 < queries()) { store(batch, head, query + 3, d, values.w); }
  }
}

fn core_dots(a: vec4f, b: vec4f, c: vec4f, d: vec4f, by: vec4f) -> vec4f {
  return vec4f(dot(a, by), dot(b, by), dot(c, by), dot(d, by));
}

fn core_masked(products: vec4f, batch: i32, head: i32, query: i32, key: i32) -> vec4f {
  let last = queries() - 1;
  let at = min(key, keys() - 1);
  let added = vec4f(
    mask(batch, head, query, at),
    mask(batch, head, min(query + 1, last), at),
    mask(batch, head, min(query + 2, last), at),
    mask(batch, head, min(query + 3, last), at),
  );
  let without = vec4f(
    replaced(batch, head, query, at),
    replaced(batch, head, min(query + 1, last), at),
    replaced(batch, head, min(query + 2, last), at),
    replaced(batch, head, min(query + 3, last), at),
  ) != vec4f();
  let adjustments = vec4f(
    adjusted(products.x),
    adjusted(products.y),
    adjusted(products.z),
    adjusted(products.w),
  );
  let scores = select(adjustments, vec4f(), without);
  let out = (added <= vec4f(LOWEST)) | vec4<bool>(key >= keys());
  return select(scores + added, vec4f(LOWEST), out);
}

fn core_exponential(scores: vec4f, greatest: vec4f) -> vec4f {
  return select(exp(scores - greatest), vec4f(), scores <= vec4f(LOWEST));
}
