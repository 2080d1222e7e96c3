// Access to weights by way of workgroup memory, for adapters that have it in hardware: each weight
// is read once, by neighbouring threads from neighbouring addresses.

// Weights that a workgroup holds: run_size() * THREADS. An override as an array's size crashes naga 29.
const STAGED = 4096u;

var<workgroup> staged: array<f32, STAGED>;

// Where weight i of the run of thread `lane` is staged. Neither the threads that stage one weight
// each of a run nor those that read the same weight of their runs meet a memory bank twice.
fn slot(i: u32, lane: u32) -> u32 {
  return i * THREADS + (lane ^ (i & (THREADS - 1u) & 31u));
}

// Brings the runs of this workgroup into `staged`, zeros past the end of a row, and waits for all of
// them. Every thread of the workgroup takes part.
fn stage(group: u32, lane: u32) {
  fill(group, lane);
  workgroupBarrier();
}

fn fill(group: u32, lane: u32) {
  if (matrix.column_order == 1u) {
    let place = place_of(group, lane);
    for (var i = 0u; i < run_size(); i++) {
      let column = place.run * run_size() + i;
      var value = 0.0;
      if (place.valid && column < matrix.columns) {
        value = element(column * matrix.rows + place.row);
      }
      staged[slot(i, lane)] = value;
    }
    return;
  }
  let whole_runs = matrix.columns == matrix.runs * run_size();
  let first = group * THREADS;
  let all = matrix.rows * matrix.runs;
  for (var j = 0u; j < run_size(); j++) {
    let place = j * THREADS + lane;
    let thread = place / run_size();
    let i = place % run_size();
    let run = first + thread;
    var value = 0.0;
    if (run < all) {
      if (whole_runs) {
        value = element(run * run_size() + i);
      } else {
        let row = run / matrix.runs;
        let column = (run - row * matrix.runs) * run_size() + i;
        if (column < matrix.columns) {
          value = element(row * matrix.columns + column);
        }
      }
    }
    staged[slot(i, thread)] = value;
  }
}

// Weights 4 * i to 4 * i + 3 of the run of thread `lane`.
fn weights_at(i: u32, lane: u32) -> vec4f {
  let first = 4u * i;
  return vec4f(
    staged[slot(first, lane)],
    staged[slot(first + 1u, lane)],
    staged[slot(first + 2u, lane)],
    staged[slot(first + 3u, lane)],
  );
}

// Multiplies the run of thread `lane` by the power of two `factor`; weights whose magnitude has bits
// below `least` become 0.
fn normalize_run(lane: u32, factor: f32, least: u32) {
  for (var i = 0u; i < run_size(); i++) {
    let weight = staged[slot(i, lane)];
    let kept = (bitcast<u32>(weight) & 0x7fffffffu) >= least;
    staged[slot(i, lane)] = select(0.0, weight * factor, kept);
  }
}

// Makes the run of thread `lane` zeros.
fn clear_run(lane: u32) {
  for (var i = 0u; i < run_size(); i++) {
    staged[slot(i, lane)] = 0.0;
  }
}
