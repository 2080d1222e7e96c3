/** What a run of the tests found: the totals, and the tables that a person reads. */
import type { Result } from "./run_case.ts";

/** The last line of `--json`. */
export interface Summary {
  readonly passed: number;
  readonly failed: number;
  /** Tests whose model the target refused, saying why. */
  readonly unsupported: number;
  /** Tests in which any tensor value was computed outside the target. */
  readonly hostNodes: number;
  /** Every test that did not pass, be it failed or unsupported. */
  readonly failures: readonly {
    readonly name: string;
    readonly reason: string;
    readonly status: "failed" | "unsupported";
  }[];
  /** Tests that hold other things than numeric tensors; counted nowhere else. */
  readonly notNumeric: readonly { readonly name: string; readonly reason: string }[];
  /** Names of the tests counted in `hostNodes` that passed, with what ran where. */
  readonly hosts: readonly { readonly name: string; readonly nodes: readonly string[] }[];
  /** Tests that ended the first process that ran them, and how. */
  readonly retried: readonly { readonly name: string; readonly reason: string }[];
  /** Tests by operator: how many there are, how many passed, how many of those without a host. */
  readonly operators: Readonly<Record<string, OperatorCounts>>;
  /** Worst relative L2 error of a test's float outputs, by test, where relative L2 is its bar. */
  readonly errors?: Readonly<Record<string, number>>;
}

/** Counts of one operator's tests. */
export interface OperatorCounts {
  readonly tests: number;
  readonly passed: number;
  /** Tests that passed with every tensor value computed on the target. */
  readonly onTarget: number;
}

/** Sums up `results`. */
export function summarize(
  results: readonly Result[],
  retried: Summary["retried"],
): Summary {
  const numeric = results.filter(({ status }) => status !== "not numeric");
  const count = (status: Result["status"]) =>
    numeric.filter((result) => result.status === status).length;
  const operators: Record<string, OperatorCounts> = {};
  for (const { operator, status, hostNodes } of numeric) {
    const counts = operators[operator] ?? { tests: 0, passed: 0, onTarget: 0 };
    const passed = status === "passed";
    operators[operator] = {
      tests: counts.tests + 1,
      passed: counts.passed + (passed ? 1 : 0),
      onTarget: counts.onTarget + (passed && hostNodes.length === 0 ? 1 : 0),
    };
  }
  const errors = numeric.flatMap(({ name, relativeL2 }) =>
    relativeL2 === null ? [] : [[name, Number(relativeL2.toPrecision(2))] as const]
  );
  return {
    passed: count("passed"),
    failed: count("failed"),
    unsupported: count("unsupported"),
    hostNodes: numeric.filter(({ hostNodes }) => hostNodes.length > 0).length,
    failures: numeric.flatMap(({ name, status, reason }) =>
      status === "failed" || status === "unsupported"
        ? [{ name, reason: reason ?? "it did not say why", status }]
        : []
    ),
    notNumeric: results.flatMap(({ name, status, reason }) =>
      status === "not numeric" ? [{ name, reason: reason ?? "" }] : []
    ),
    hosts: numeric.flatMap(({ name, status, hostNodes }) =>
      status === "passed" && hostNodes.length > 0 ? [{ name, nodes: hostNodes }] : []
    ),
    retried: [...retried].sort((a, b) => a.name < b.name ? -1 : 1),
    operators: Object.fromEntries(
      Object.entries(operators).sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0),
    ),
    ...(errors.length > 0 ? { errors: Object.fromEntries(errors) } : {}),
  };
}

/** The summary as lines for a person: a table by operator, what did not pass and why, the totals. */
export function formatSummary(summary: Summary): string[] {
  const lines = ["operator                                  tests  passed  on target"];
  for (const [operator, { tests, passed, onTarget }] of Object.entries(summary.operators)) {
    lines.push(
      operator.padEnd(40) + String(tests).padStart(7) + String(passed).padStart(8) +
        String(onTarget).padStart(11) + (passed < tests ? `  ${tests - passed} missing` : ""),
    );
  }
  for (const status of ["unsupported", "failed"] as const) {
    const those = summary.failures.filter((failure) => failure.status === status);
    if (those.length > 0) lines.push("", `${status}:`);
    for (const { name, reason } of those) lines.push(`  ${name}: ${reason}`);
  }
  if (summary.retried.length > 0) {
    lines.push("", "ended their process, and were tried again:");
    for (const { name, reason } of summary.retried) lines.push(`  ${name}: ${reason}`);
  }
  const { passed, failed, unsupported, hostNodes, notNumeric } = summary;
  lines.push(
    "",
    `${passed} passed, ${failed} failed, ${unsupported} unsupported; in ${hostNodes} a tensor value ` +
      `was computed outside the target; ${notNumeric.length} hold other things than numeric tensors`,
  );
  return lines;
}
