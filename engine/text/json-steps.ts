import { inOneLine, show } from "../container/quote.js";
import { isObject, type JsonObject } from "../container/sidecar.js";
import type { Refuse } from "./codec.js";
import { spaceMark } from "./piece-alphabet.js";
import { type SplitRule, type SplitStep, splitPatterns } from "./pretokenize.js";
import type { SpacePrefix } from "./vocabulary.js";

/** Characters of an unknown split pattern that a message shows; LLaMA-3's has 112. */
const maxPattern = 500;

export const isAbsent = (value: unknown): value is null | undefined => value === null || value === undefined;

/** The steps of what may be one step, a "Sequence" of some under `key`, or absent. */
function stepsOf(step: unknown, key: string): readonly unknown[] | undefined {
  if (isAbsent(step)) return [];
  if (!isObject(step) || step.type !== "Sequence") return [step];
  const steps = step[key];
  return Array.isArray(steps) ? steps : undefined;
}

/** Whether text is brought to normal form C; no other normaliser is known for byte-level BPE. */
export function readNormalizer(normalizer: unknown, refuse: Refuse): boolean {
  const steps = stepsOf(normalizer, "normalizers");
  const nfc = steps?.length === 1 && isObject(steps[0]) && steps[0].type === "NFC";
  if (nfc || steps?.length === 0) return nfc;
  return refuse(`normalizer is ${show(normalizer)}; supported are "NFC", or none`);
}

/** How a pre_tokenizer of byte-level BPE cuts text: "ByteLevel" with what stands before and after it. */
export function readSplit(preTokenizer: unknown, refuse: Refuse): SplitRule {
  const steps = stepsOf(preTokenizer, "pretokenizers");
  const unknown = (): never =>
    refuse(
      `pre_tokenizer is ${show(preTokenizer)}; supported are "ByteLevel" and, before or after it, "Split" (behavior "Isolated"), "Punctuation" and "Digits"`,
    );
  if (steps === undefined) return unknown();
  const rule: SplitStep[] = [];
  let spelled = false; // after ByteLevel, text is in its alphabet
  for (const step of steps) {
    if (!isObject(step)) return unknown();
    if (step.type === "ByteLevel" && !spelled) {
      if (step.add_prefix_space === true) refuse("pre_tokenizer adds a space before text (add_prefix_space), which is not supported");
      if (step.use_regex !== false) rule.push("gpt2"); // true where it isn't said
      spelled = true;
    } else if (step.type === "Split" && step.behavior === "Isolated" && step.invert !== true) {
      const cut = readPattern(step, refuse);
      if (spelled && cut !== "threeDigits") return unknown(); // the others would take the alphabet for text
      rule.push(cut);
    } else if (step.type === "Digits") {
      // Of the alphabet's characters "²", "³", "¹", "¼", "½" and "¾" are numbers too, parts of characters that a vocabulary made with this rule never joins.
      const cut = step.individual_digits === true ? "digit" : "digits";
      rule.push(spelled ? (cut === "digit" ? "asciiDigit" : "asciiDigits") : cut);
    } else if (step.type === "Punctuation" && !spelled && (isAbsent(step.behavior) || step.behavior === "Isolated")) {
      rule.push("punctuationMarks");
    } else if (step.type === "Punctuation" && !spelled && step.behavior === "Contiguous") {
      rule.push("punctuation");
    } else {
      return unknown();
    }
  }
  if (!spelled) return unknown();
  if (rule.length === 0) refuse("pre_tokenizer does not split text at all (use_regex is false), which is not supported");
  return rule;
}

/** The known pattern of a "Split". */
function readPattern({ pattern }: JsonObject, refuse: Refuse): SplitStep {
  const regex = isObject(pattern) ? pattern.Regex : undefined;
  for (const [step, known] of Object.entries(splitPatterns)) if (regex === known) return step as keyof typeof splitPatterns;
  const shown = typeof regex === "string" ? inOneLine(JSON.stringify(regex.slice(0, maxPattern))) : show(pattern);
  return refuse(`pre_tokenizer splits text by ${shown}; supported are only LLaMA-3's, GPT-2's and Qwen2's patterns, and "[0-9][0-9][0-9]"`);
}

/** Gemma's pre_tokenizer: behind a normaliser that leaves no spaces, it cuts nothing. */
const SPACE_SPLIT = { type: "Split", pattern: { String: " " }, behavior: "MergedWithPrevious", invert: false };

/**
 * How SentencePiece's BPE treats spaces: "▁" for each, and where one more is put before text. Known are normalisers "Prepend" and "Replace",
 * or a pre_tokenizer "Metaspace" that doesn't split; or "Replace" and a "Split" at spaces; with the decoder that undoes them.
 */
export function readSpaces(
  normalizer: unknown,
  preTokenizer: unknown,
  decoder: unknown,
  refuse: Refuse,
): { readonly spacePrefix: SpacePrefix; readonly keepsSpace: boolean } {
  const splits = !isAbsent(preTokenizer) && !isSame(preTokenizer, SPACE_SPLIT);
  const spaces = splits ? spacesOfMetaspace(normalizer, preTokenizer) : spacesOfNormalizer(normalizer);
  if (spaces === undefined) {
    return refuse(
      `normalizer is ${show(normalizer)} and pre_tokenizer ${show(preTokenizer)}; with byte_fallback, supported are "Replace" with or without "Prepend", or "Metaspace" (split false)`,
    );
  }
  const strip = { type: "Strip", content: " ", start: 1, stop: 0 };
  const known = [
    { type: "Replace", pattern: { String: spaceMark }, content: " " },
    { type: "ByteFallback" },
    { type: "Fuse" },
    ...(spaces.spacePrefix === "never" ? [] : [strip]),
  ];
  const steps = stepsOf(decoder, "decoders");
  if (steps?.length !== known.length || !known.every((step, i) => isSame(steps[i], step))) {
    refuse(`decoder is ${show(decoder)}; with byte_fallback, supported are ${known.map(({ type }) => `"${type}"`).join(", ")} in sequence`);
  }
  return spaces;
}

/** Whether a step of the file is this known one; keys beyond its own don't count. */
function isSame(step: unknown, known: unknown): boolean {
  if (!isObject(known)) return step === known;
  return isObject(step) && Object.entries(known).every(([key, value]) => isSame(step[key], value));
}

function spacesOfNormalizer(normalizer: unknown): { spacePrefix: SpacePrefix; keepsSpace: boolean } | undefined {
  const steps = stepsOf(normalizer, "normalizers");
  const replaces = isSame(steps?.at(-1), { type: "Replace", pattern: { String: " " }, content: spaceMark });
  const prepends = isSame(steps?.[0], { type: "Prepend", prepend: spaceMark });
  if (!replaces || steps?.length !== (prepends ? 2 : 1)) return undefined;
  return { spacePrefix: prepends ? "always" : "never", keepsSpace: false };
}

function spacesOfMetaspace(normalizer: unknown, preTokenizer: unknown): { spacePrefix: SpacePrefix; keepsSpace: boolean } | undefined {
  const [step, ...more] = stepsOf(preTokenizer, "pretokenizers") ?? [];
  const isKnown = stepsOf(normalizer, "normalizers")?.length === 0 && more.length === 0;
  if (!isKnown || !isObject(step) || !isSame(step, { type: "Metaspace", replacement: spaceMark, split: false })) return undefined;
  const spacePrefix = step.prepend_scheme ?? (step.add_prefix_space === false ? "never" : "always");
  return spacePrefix === "never" || spacePrefix === "first" || spacePrefix === "always" ? { spacePrefix, keepsSpace: true } : undefined;
}
