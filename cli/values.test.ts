import { InvalidArgumentError } from "commander";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BitnetError } from "../engine/errors.js";
import { decimal, integer, onlyOne, parseIds, readEnvironment, repeatable } from "./values.js";

describe("numbers in flags", () => {
  it("reads whole numbers within bounds, and nothing else", () => {
    const parse = integer(1, 100);
    expect(["1", "42", "100", "007"].map(parse)).toEqual([1, 42, 100, 7]);
    for (const text of ["", " ", "0", "101", "-1", "+1", "1.0", "1e1", "0x10", "abc", "1 ", "1,2", "NaN", "Infinity", "9".repeat(400)]) {
      expect(() => parse(text), text).toThrow(InvalidArgumentError);
    }
    expect(integer(0, Number.MAX_SAFE_INTEGER)("9007199254740991")).toBe(Number.MAX_SAFE_INTEGER);
    expect(() => integer(0, Number.MAX_SAFE_INTEGER)("9007199254740993")).toThrow(InvalidArgumentError);
  });

  it("reads decimal numbers within bounds, and nothing else", () => {
    const parse = decimal(0, 1);
    expect(["0", "1", "0.5", ".5", "1.", "5e-1"].map(parse)).toEqual([0, 1, 0.5, 0.5, 1, 0.5]);
    for (const text of ["", "-0.1", "1.1", "abc", "0x1", "NaN", "Infinity", "1e999", "0.5.5", "."]) {
      expect(() => parse(text), text).toThrow(InvalidArgumentError);
    }
    expect(() => decimal(0, 1, true)("0")).toThrow(/above 0/);
  });

  it("reads back any list of ids", () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 2 ** 31 - 1 }), { minLength: 1 }), fc.constantFrom(",", ", ", " ", "\n"), (ids, separator) => {
        expect(parseIds(ids.join(separator))).toEqual(ids);
      }),
    );
  });

  it("refuses what is no list of ids", () => {
    for (const text of ["", ",", "1,", ",1", "1,,2", "1,x", "-1", "1.5", "2147483648", "1;2", "99999999999"]) {
      expect(() => parseIds(text), text).toThrow(InvalidArgumentError);
    }
  });

  it("gathers a flag that is given again", () => {
    const gather = repeatable(parseIds);
    expect(gather("3", gather("1,2", undefined))).toEqual([1, 2, 3]);
  });
});

describe("the environment", () => {
  it("has defaults", () => {
    expect(readEnvironment({})).toEqual({ seed: 42, threads: undefined });
    expect(readEnvironment({ BITNET_SEED: "", BITNET_DETERMINISTIC: "0" })).toEqual({ seed: 42, threads: undefined });
  });

  it("means one thread and seed 42 when it is deterministic, unless it says otherwise", () => {
    expect(readEnvironment({ BITNET_DETERMINISTIC: "1" })).toEqual({ seed: 42, threads: 1 });
    expect(readEnvironment({ BITNET_DETERMINISTIC: "1", BITNET_SEED: "7", BITNET_NUM_THREADS: "3" })).toEqual({ seed: 7, threads: 3 });
  });

  it("is refused by name when it makes no sense", () => {
    for (const name of ["BITNET_SEED", "BITNET_NUM_THREADS", "BITNET_DETERMINISTIC"]) {
      expect(() => readEnvironment({ [name]: "lots" })).toThrow(
        expect.objectContaining({ code: "usage", message: expect.stringContaining(name) }),
      );
    }
  });
});

it("takes one of several flags, no more and no less", () => {
  const names = ["text", "file", "ids"] as const;
  expect(onlyOne({ file: "a" }, names)).toBe("file");
  expect(onlyOne({ text: "" }, names)).toBe("text");
  expect(() => onlyOne({}, names)).toThrow("give exactly one of --text, --file and --ids: none was given");
  expect(() => onlyOne({ text: "a", ids: [1] }, names)).toThrow(BitnetError);
});
