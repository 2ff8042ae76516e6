import { openCheckpoint } from "../container/checkpoint.js";
import { BitnetError } from "../errors.js";
import type { FilePath } from "../host/files.js";
import { readConfig } from "../model/config.js";
import { allLinears } from "../model/layers.js";
import { I2S_LAYOUTS, readWeights } from "../model/weights.js";
import { type Given, type Rules, readOptions } from "../options.js";
import { pathOf } from "./default-model.js";
import { loadModel } from "./model.js";
import { LOAD_OPTIONS, type LoadOptions } from "./runner.js";

/** What every model that has seen English finds likely. */
const TEXT =
  "Once upon a time there was a little girl who lived with her mother in a small house near the forest. One day she went out to play with her friends.";
const MOST_TOKENS = 48;

/** A text reads as language if it costs less than this part of what blind guessing does, ln(vocabulary) … */
const LANGUAGE = 0.6;
/** … and one reading is the right one if all others cost so many nats a token more: meaningless text does; norms hide much of a wrong scale. */
const MARGIN = { layouts: 1, scales: 0.25 } as const;

/** A way to read a file that does not state which is right. Plain data. */
export interface ProbeReading {
  /** `block128`, `block64`, `rows4`; `scales as they are`, `scales inverted`; `as it is` where there is one way only. */
  readonly name: string;
  /** Of the text, nats per token; undefined if the file can't be read this way. */
  readonly meanNll: number | undefined;
  readonly fault: string | undefined;
}

/** Result of a probe. Plain data. */
export interface Probe {
  /** The text that was scored. */
  readonly text: string;
  /** The first is how the file is read now. */
  readonly readings: readonly ProbeReading[];
  /** The reading under which the text reads as language, clearly more than under all others; undefined if there is none. */
  readonly right: string | undefined;
}

type ProbeOptions = Omit<LoadOptions, "contextLength" | "cacheTokens">;
const { contextLength: _, cacheTokens: _none, ...PROBE_OPTIONS }: Rules<LoadOptions> = LOAD_OPTIONS;

/**
 * Scores a short text under each way to read a file: the layouts of I2_S, or scales that multiply or divide.
 * @throws BitnetError as `loadModel`
 */
export async function probeModel(path?: FilePath | null, given?: Given<ProbeOptions>): Promise<Probe> {
  const options = readOptions<ProbeOptions>("probeModel()", given, PROBE_OPTIONS);
  const checkpoint = await openCheckpoint(pathOf(path));
  let ways: readonly (readonly [name: string, options: LoadOptions])[];
  let vocabSize: number;
  let contextLength: number;
  try {
    const config = await readConfig(checkpoint, options);
    ({ vocabSize } = config);
    contextLength = Math.min(config.contextLength, MOST_TOKENS);
    const types = new Set(allLinears(readWeights(checkpoint, config, options).layers).map(({ tensor }) => tensor.type));
    const now = options.i2sLayout ?? "block128";
    if (types.has("I2_S")) {
      ways = [now, ...I2S_LAYOUTS.filter((layout) => layout !== now)].map((i2sLayout) => [i2sLayout, { i2sLayout }]);
    } else if (["U8", "F32", "F16", "BF16"].some((type) => types.has(type))) {
      ways = [
        ["scales as they are", {}],
        ["scales inverted", { invertScales: true }],
      ];
    } else ways = [["as it is", {}]];
  } finally {
    await checkpoint.close();
  }
  const readings: ProbeReading[] = [];
  for (const [i, [name, way]] of ways.entries()) {
    const onProgress = options.onProgress;
    const share: LoadOptions = onProgress
      ? { onProgress: ({ done, total }) => onProgress({ done: i * total + done, total: ways.length * total }) }
      : {};
    try {
      readings.push({ name, meanNll: await scoreText(path, { ...options, ...way, ...share, contextLength }), fault: undefined });
    } catch (error) {
      if (!(error instanceof BitnetError) || (error.code !== "file" && error.code !== "tensor") || ways.length === 1) throw error;
      readings.push({ name, meanNll: undefined, fault: error.message });
    }
  }
  return {
    text: TEXT,
    readings: distinct(readings),
    right: rightOf(distinct(readings), vocabSize, ways.length > 2 ? MARGIN.layouts : MARGIN.scales),
  };
}

async function scoreText(path: FilePath | null | undefined, options: LoadOptions): Promise<number> {
  const model = await loadModel(path, options);
  try {
    const ids = model.tokenizer.encode(TEXT).slice(0, model.contextLength);
    return (await model.score(ids, options.signal ? { signal: options.signal } : {})).meanNll;
  } finally {
    await model.close();
  }
}

/** Master weights have no scale to invert: the second reading is the first. */
function distinct(readings: readonly ProbeReading[]): readonly ProbeReading[] {
  const [first, second] = readings;
  return readings.length === 2 && first!.meanNll === second!.meanNll ? [{ ...first!, name: "as it is" }] : readings;
}

function rightOf(readings: readonly ProbeReading[], vocabSize: number, margin: number): string | undefined {
  const cost = ({ meanNll }: ProbeReading): number =>
    meanNll === undefined || !Number.isFinite(meanNll) ? Number.POSITIVE_INFINITY : meanNll;
  const [best, next] = [...readings].sort((a, b) => cost(a) - cost(b));
  if (best === undefined || !(cost(best) < LANGUAGE * Math.log(vocabSize))) return undefined;
  return next === undefined || cost(next) - cost(best) >= margin ? best.name : undefined;
}
