/**
 * Holds this engine beside llama.cpp, live, on a small model of each family and in each format that both read; llama.cpp's files are those that
 * `bitnet convert` writes. `npm run check:peers`
 *
 * `--write` stores llama.cpp's outputs on the F32 files as the goldens that the tests read.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { convertModel } from "../engine/conversion/convert.js";
import type { ConversionType } from "../engine/conversion/types.js";
import type { LoadOptions } from "../engine/generation/runner.js";
import { type FamilyModel, isFloat, isGgufOnly, makeFamilyModel, SHAPES, type Shape } from "../validation/families/model.js";
import {
  compare,
  type Difference,
  type Manifest,
  type Outputs,
  outputsOf,
  type WindowLogits,
  writeManifest,
  writeOutputs,
} from "../validation/families/outputs.js";
import { makeQwen35, QWEN35_SHAPES, QWEN35_TYPES, writeQwen35 } from "../validation/families/qwen35.js";
import { FLOAT, familyLogits } from "../validation/families/run.js";
import { type FamilyType, typesOf, writeFamilyGguf } from "../validation/families/write-gguf.js";
import { writeFamilySafetensors } from "../validation/families/write-safetensors.js";
import { readFlags } from "./flags.js";

/** What a lane may differ by from llama.cpp: the mean of |ΔNLL| over positions, and the mean ΔNLL of a window. */
interface Gate {
  readonly nll: number;
  readonly windowNll: number;
}

/** Nothing is quantised on either side, sums only run in other orders. */
const EXACT: Gate = { nll: 5e-5, windowNll: 1e-5 };
/** The kernels give activations that the model doesn't quantise 15 bits; or llama.cpp looks GELU up in a table of f16. */
const FINE: Gate = { nll: 1e-3, windowNll: 5e-4 };
/** llama.cpp rounds the inputs of F16 layers to f16. */
const HALVES: Gate = { nll: 0.01, windowNll: 0.002 };
/** llama.cpp quantises the inputs of these layers by blocks of 256 (TQ2_0) or 32 (Q2_0), the engine as the model defines it. */
const BLOCKS: Gate = { nll: 0.12, windowNll: 0.04 };

/** What `bitnet convert` writes of those that llama.cpp reads; Q2_0 is written from the model's numbers. */
const CONVERTED = new Map<FamilyType, ConversionType>([
  ["F32", "f32"],
  ["F16", "f16"],
  ["TQ2_0", "tq2_0"],
]);

/** The file that llama.cpp runs, the one that the engine runs beside it, written from the model's numbers, and how. */
interface Lane {
  readonly theirs: FamilyType;
  readonly ours: FamilyType;
  readonly options: LoadOptions;
  readonly gate: Gate;
}

/** What both can say of a model. */
function lanesOf(shape: Shape): Lane[] {
  const both = (type: FamilyType, options: LoadOptions, gate: Gate): Lane => ({ theirs: type, ours: type, options, gate });
  const lanes = [
    both("F32", FLOAT, shape.family === "gemma3" ? FINE : EXACT),
    both("F16", FLOAT, HALVES),
    both("TQ2_0", {}, BLOCKS),
    both("Q2_0", {}, BLOCKS),
  ];
  if (isFloat(shape))
    for (const ours of ["TQ2_0", "Q2_0", "Q2_0_128"] as const) lanes.push({ theirs: "F32", ours, options: {}, gate: FINE });
  const types = typesOf(shape);
  return lanes.filter(({ theirs, ours }) => types.includes(theirs) && types.includes(ours));
}

const PEER = fileURLToPath(new URL("../../bench/peers/logits.mjs", import.meta.url));

/** llama.cpp's logits, and its version. */
function peerLogits(
  directory: string,
  path: string,
  { windows, shape }: Pick<FamilyModel, "windows" | "shape">,
): { logits: WindowLogits[]; engine: string } {
  const request = join(directory, "request.json");
  const out = join(directory, "logits.f32");
  writeFileSync(request, JSON.stringify({ path, windows, vocab: shape.vocab, out }));
  const engine = execFileSync(process.execPath, [PEER, request], { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  const bytes = readFileSync(out);
  const all = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  let row = 0;
  const logits = windows.map((ids) => ids.map(() => all.subarray(row * shape.vocab, ++row * shape.vocab)));
  return { logits, engine };
}

const sha256 = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");

function line(
  name: string,
  { theirs, ours, options }: Pick<Lane, "ours" | "options"> & { readonly theirs: string },
  { logit, nll, windowNll, tau }: Difference,
  passed: boolean,
): string {
  const files = `${theirs} ↔ ${ours}${options === FLOAT ? ", float" : ""}`;
  const cells = [logit, nll, windowNll].map((value) => value.toExponential(1).padStart(9));
  return `${name.padEnd(18)}${files.padEnd(22)}${cells.join("")}${tau.toFixed(4).padStart(9)}  ${passed ? "passed" : "FAILED"}`;
}

async function main(): Promise<void> {
  const { values } = readFlags("npm run check:peers -- [--write]", { write: { type: "boolean", default: false } });
  const directory = mkdtempSync(join(tmpdir(), "bitnet-"));
  const models: Record<string, Manifest["models"][string]> = {};
  let engine = "";
  try {
    const titles = ["Δlogit", "|ΔNLL|", "window", "τ-b"].map((title) => title.padStart(9));
    console.log(`${"model".padEnd(18)}${"llama.cpp ↔ bitnet-ts".padEnd(22)}${titles.join("")}`);
    for (const shape of SHAPES) {
      const model = makeFamilyModel(shape);
      const files = new Map<FamilyType, string>();
      for (const type of typesOf(shape)) files.set(type, await writeFamilyGguf(join(directory, `${shape.name}-${type}.gguf`), model, type));
      const source = isGgufOnly(shape) ? undefined : await writeFamilySafetensors(join(directory, shape.name), model);
      const outputs = new Map<FamilyType, Outputs>();
      for (const lane of lanesOf(shape)) {
        const { theirs, ours, options, gate } = lane;
        if (!outputs.has(theirs)) {
          const type = source === undefined ? undefined : CONVERTED.get(theirs);
          const converted = join(directory, "converted.gguf");
          if (source !== undefined && type) await convertModel(source, converted, { type, force: true });
          const peer = peerLogits(directory, type ? converted : files.get(theirs)!, model);
          engine = peer.engine;
          outputs.set(theirs, outputsOf(model.windows, peer.logits));
        }
        const difference = compare(outputs.get(theirs)!, model.windows, await familyLogits(files.get(ours)!, model.windows, options));
        const passed = difference.nll < gate.nll && difference.windowNll < gate.windowNll;
        if (!passed) process.exitCode = 1;
        console.log(line(shape.name, lane, difference, passed));
      }
      if (values.write) {
        mkdirSync("validation/golden/families", { recursive: true });
        writeOutputs(shape.name, outputs.get("F32")!);
        models[shape.name] = {
          sha256: sha256(source === undefined ? files.get("F32")! : join(source, "model.safetensors")),
          windows: model.windows,
        };
      }
      for (const path of files.values()) rmSync(path);
    }
    // The peer runs the same numbers unrotated.
    for (const shape of QWEN35_SHAPES) {
      const model = makeQwen35(shape);
      const write = (type: Parameters<typeof writeQwen35>[2]) => writeQwen35(join(directory, `${shape.name}-${type}.gguf`), model, type);
      const outputs = outputsOf(model.windows, peerLogits(directory, await write("unfolded"), model).logits);
      const lanes = [
        { ours: "F32", options: FLOAT, gate: EXACT } as const,
        ...QWEN35_TYPES(shape).map((ours) => ({ ours, options: {}, gate: FINE })),
      ];
      for (const { ours, options, gate } of lanes) {
        const difference = compare(outputs, model.windows, await familyLogits(await write(ours), model.windows, options));
        const passed = difference.nll < gate.nll && difference.windowNll < gate.windowNll;
        if (!passed) process.exitCode = 1;
        console.log(line(shape.name, { theirs: "F32", ours, options }, difference, passed));
      }
      if (!values.write) continue;
      writeOutputs(shape.name, outputs);
      models[shape.name] = { sha256: sha256(join(directory, `${shape.name}-F32.gguf`)), windows: model.windows };
    }
    console.log(`beside ${engine}`);
    if (values.write) writeManifest({ engine, models });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

await main();
