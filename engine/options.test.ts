import { describe, expect, test } from "vitest";
import {
  CALLBACK,
  either,
  IDS,
  LIVE_SIGNAL,
  oneOf,
  type Rules,
  readOptions,
  SIGNAL,
  shown,
  TEXT,
  TRUE_OR_FALSE,
  wholeNumber,
} from "./options.js";

interface Example {
  readonly maxTokens?: number;
  readonly kind?: string;
  readonly signal?: object;
  readonly secret?: boolean;
}

const RULES: Rules<Example> = {
  maxTokens: wholeNumber(0, 9),
  kind: oneOf(["a", "b"]),
  signal: SIGNAL,
  secret: { ...TRUE_OR_FALSE, internal: true },
};
const read = (options: unknown) => readOptions<Example>("try()", options, RULES);
const refusal = (options: unknown): string => {
  try {
    read(options);
  } catch (error) {
    expect(error).toMatchObject({ name: "BitnetError", code: "usage" });
    return (error as Error).message;
  }
  return "";
};

describe("options", () => {
  test("of null and undefined are not given, all of them or each", () => {
    expect(read(undefined)).toEqual({});
    expect(read(null)).toEqual({});
    expect(read({ maxTokens: null, kind: undefined, secret: true, unknown: null })).toEqual({ secret: true });
    expect(read(Object.create({ maxTokens: 3 }))).toEqual({ maxTokens: 3 });
  });

  test("are read once, and what is done to them later changes nothing", () => {
    let reads = 0;
    const options = {
      get maxTokens() {
        return ++reads;
      },
    };
    expect(read(options)).toEqual({ maxTokens: 1 });
    expect(reads).toBe(1);
  });

  test.each([
    [5, "the options of try() must be an object, { maxTokens: … }, not 5"],
    ["fast", 'the options of try() must be an object, { maxTokens: … }, not "fast"'],
    [[], "the options of try() must be an object, { maxTokens: … }, not a list"],
    [() => {}, "the options of try() must be an object, { maxTokens: … }, not a function"],
    [new AbortController().signal, "the options of try() must be an object, { maxTokens: … }, not an AbortSignal"],
    [{ maxToken: 1 }, 'try() has no option "maxToken": did you mean maxTokens?'],
    [{ max_tokens: 1 }, 'try() has no option "max_tokens": did you mean maxTokens?'],
    [{ MAXTOKENS: 1 }, 'try() has no option "MAXTOKENS": did you mean maxTokens?'],
    [{ knid: "a" }, 'try() has no option "knid"; it has maxTokens, kind, signal'],
    [{ kin: "a" }, 'try() has no option "kin": did you mean kind?'],
    [{ secre: true }, 'try() has no option "secre"; it has maxTokens, kind, signal'],
    [{ toString: 1 }, 'try() has no option "toString"; it has maxTokens, kind, signal'],
    [{ maxTokens: "5" }, 'maxTokens must be a whole number from 0 to 9, not "5"'],
    [{ maxTokens: NaN }, "maxTokens must be a whole number from 0 to 9, not NaN"],
    [{ maxTokens: 10 }, "maxTokens must be a whole number from 0 to 9, not 10"],
    [{ kind: "c" }, 'kind must be one of a, b, not "c"'],
    [{ kind: ["a"] }, "kind must be one of a, b, not a list"],
    [{ signal: {} }, "signal must be an AbortSignal (a controller's .signal), not an object"],
    [{ signal: new AbortController() }, "signal must be an AbortSignal (a controller's .signal), not an AbortController"],
  ])("%o are refused in one sentence", (options, message) => expect(refusal(options)).toBe(message));
});

describe("rules", () => {
  test("of a signal ask for its parts, and read none of them", () => {
    const hostile = {
      get aborted(): boolean {
        throw new Error("mine");
      },
    };
    expect(SIGNAL.holds(hostile)).toBe(true);
    expect(LIVE_SIGNAL.holds(hostile)).toBe(false);
    expect(LIVE_SIGNAL.holds(AbortSignal.timeout(1))).toBe(true);
  });

  test("of ids take lists and whole-number arrays, and no bytes", () => {
    for (const ids of [[], [1], Int32Array.of(1), Uint32Array.of(1)]) expect(IDS.holds(ids)).toBe(true);
    for (const wrong of ["1", 1, null, new Uint8Array(1), BigInt64Array.of(1n), new Float32Array(1), new Set([1])])
      expect(IDS.holds(wrong)).toBe(false);
    expect(either(TEXT, IDS, CALLBACK).wanted).toBe("a string, a list of token ids or a function");
  });
});

test.each([
  ["", "an empty string"],
  ["x".repeat(100), `"${"x".repeat(60)}…"`],
  ["a\nb", '"a\\nb"'],
  [undefined, "undefined"],
  [null, "null"],
  [-0.5, "-0.5"],
  [10n, "a BigInt"],
  [Symbol("x"), "a symbol"],
  [new Date(), "a Date"],
  [new Error("x"), "an Error"],
  [Object.create(null), "an object"],
])("%o is shown as %s", (value, text) => expect(shown(value)).toBe(text));
