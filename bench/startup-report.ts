import type { Machine } from "./machine.js";

/** Of one kind of cache. */
export interface LoadRate {
  readonly kv: string;
  /** From the call of `loadModel` to ready, tokenizer included; median. */
  readonly milliseconds: number;
  /** Peak resident memory, with the context full; 10^6 bytes. */
  readonly megabytes: number;
}

/** How soon there is something, and what it takes. Plain data. */
export interface StartReport {
  readonly machine: Machine;
  readonly threads: number;
  readonly context: number;
  readonly nodes: readonly {
    readonly node: string;
    /** Milliseconds from process start to the first text of the embedded model. */
    readonly first: { readonly median: number; readonly min: number; readonly max: number };
    readonly loads: readonly LoadRate[];
  }[];
}

/** The figures as Markdown. */
export function startTable({ machine: on, threads, context, nodes }: StartReport): string {
  const kinds = nodes[0]?.loads.map(({ kv }) => kv) ?? [];
  const head = ["Node", "first text, embedded model", ...kinds.flatMap((kv) => [`load, \`--kv ${kv}\``, `peak memory, \`--kv ${kv}\``])];
  const rows = nodes.map(({ node, first, loads }) => [
    node,
    `${first.median} ms (${first.min}–${first.max})`,
    ...loads.flatMap(({ milliseconds, megabytes }) => [`${milliseconds} ms`, `${megabytes} MB`]),
  ]);
  return [
    `${on.cpu}, ${on.cores} cores, ${on.platform}, ${on.date}; ${threads} threads, context ${context}. Medians; minimum and maximum in brackets.`,
    "",
    `| ${head.join(" | ")} |`,
    `|${head.map((_, i) => (i === 0 ? "---|" : "---:|")).join("")}`,
    ...rows.map((cells) => `| ${cells.join(" | ")} |`),
  ].join("\n");
}
