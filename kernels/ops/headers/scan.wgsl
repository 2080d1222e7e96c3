// What the cores of running sums call, over contiguous tensors.

struct Parameters { rows: i32, length: i32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> elements: array<Element>;
@group(0) @binding(2) var<storage, read_write> result: array<Element>;

// What is added up: f32, i32 or u32.
alias Element = f32;
// 1 where an element has no part in its own result.
const EXCLUSIVE: i32 = 0;
// 1 where sums begin at the last element.
const REVERSE: i32 = 0;

fn rows() -> i32 { return parameters.rows; }
fn length() -> i32 { return parameters.length; }

fn x(row: i32, i: i32) -> Element { return elements[row * length() + i]; }

fn store(row: i32, i: i32, value: Element) { result[row * length() + i] = value; }

// What is done to elements; must be associative.
fn combined(a: Element, b: Element) -> Element { return a + b; }

// combined(neutral(), a) is a.
fn neutral() -> Element { return Element(0); }
