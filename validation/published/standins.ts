/**
 * A small stand-in for each published model: its keys, configuration, file names and habits, exactly as far as they are known, over small weights.
 * The real files are too large to test with, and a file of our own making would have our own habits. How sure each is stands in `known`.
 */
import { BITNET } from "./bitnet.js";
import { BONSAI_FILES } from "./bonsai.js";
import { EMBEDDINGS } from "./embeddings.js";
import { LLAMA } from "./llama.js";
import { OTHERS } from "./others.js";
import type { Standin } from "./parts.js";

export const STANDINS: readonly Standin[] = [...BITNET, ...LLAMA, ...BONSAI_FILES, ...EMBEDDINGS, ...OTHERS];
