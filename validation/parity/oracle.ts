import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import { klDivergence } from "../statistics/divergence.js";
import { kendallTauB } from "../statistics/kendall.js";
import { type Measured, measured, type Outputs, topIds } from "./figures.js";
import { EMBEDDED_FOLDER } from "./sides.js";
import type { SideRecord } from "./types.js";

/** Stored outputs of independent implementations for the embedded model: models/bitnet-stories-4m/oracle, an excerpt of validation/golden. */
export interface OracleFile {
  /** Logits that are stored of each position. */
  readonly top: number;
  /** SHA-256 of the model files that they are the outputs of. */
  readonly models: readonly string[];
  readonly requests: readonly { readonly id: string; readonly ids: readonly number[] }[];
  readonly implementations: readonly {
    readonly name: string;
    readonly label: string;
    /** Which of our paths computes the same. */
    readonly against: "reference" | "kernels";
    readonly file: string;
    readonly sha256: string;
    /** Of some requests: the 64 tokens that it chose greedily after them. None of an implementation that rounds its KV cache: it meets ties otherwise. */
    readonly greedy: Readonly<Record<string, readonly number[]>>;
  }[];
}

/** One request as one implementation answered it. */
export interface StoredAnswer {
  readonly id: string;
  readonly ids: readonly number[];
  readonly greedy: readonly number[] | undefined;
  /** Compares our outputs, [ids] positions or more, with the stored ones, over the reference's own top: divergence is that within it. */
  compare(ours: Outputs): Measured;
}

/** One implementation's stored outputs. */
export interface StoredOracle {
  readonly record: SideRecord;
  readonly against: "reference" | "kernels";
  readonly answers: readonly StoredAnswer[];
}

/** Reads what is stored. @throws BitnetError file: it was altered */
export function readOracles(folder = join(EMBEDDED_FOLDER, "oracle")): { models: readonly string[]; oracles: StoredOracle[] } {
  const { top, models, requests, implementations } = JSON.parse(readFileSync(join(folder, "oracle.json"), "utf8")) as OracleFile;
  const oracles = implementations.map(({ name, label, against, file, sha256, greedy }) => {
    const path = join(folder, file);
    const bytes = readFileSync(path);
    if (createHash("sha256").update(bytes).digest("hex") !== sha256) {
      throw new BitnetError("file", `${path} does not have the hash listed in oracle.json: install the package again`, { file: path });
    }
    const positions = requests.reduce((sum, { ids }) => sum + ids.length, 0);
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
    // [positions, top] f32 logits, [positions − requests] f32 NLL, [positions, top] u16 ids; all little-endian
    const logits = new Float32Array(buffer, 0, positions * top);
    const nll = new Float32Array(buffer, logits.byteLength, positions - requests.length);
    const storedIds = new Uint16Array(buffer, logits.byteLength + nll.byteLength, positions * top);
    let first = 0;
    const answers = requests.map(({ id, ids }, request): StoredAnswer => {
      const from = first;
      first += ids.length;
      return {
        id,
        ids,
        greedy: greedy[id],
        compare: (ours) => {
          const stored = (t: number) => logits.subarray((from + t) * top, (from + t + 1) * top);
          const mine = ids.map((_, t) =>
            Array.from(storedIds.subarray((from + t) * top, (from + t + 1) * top), (token) => ours.logits[t]![token]!),
          );
          const taus = mine.map((row, t) => (row.every(Number.isFinite) ? kendallTauB(stored(t), row) : undefined));
          const predicting = mine.slice(0, -1);
          return measured(taus, {
            nllA: Array.from(nll.subarray(from - request, from - request + ids.length - 1)),
            nllB: ours.nll.slice(0, ids.length - 1),
            kl: predicting.map((row, t) => klDivergence(stored(t), row)),
            same: predicting.map((_, t) => topIds(ours.logits[t]!, 1)[0] === storedIds[(from + t) * top]),
          });
        },
      };
    });
    return { record: { path: null, format: label, sha256, kernels: name }, against, answers };
  });
  return { models, oracles };
}
