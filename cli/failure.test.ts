import { CommanderError } from "commander";
import { expect, it } from "vitest";
import { BitnetError, type ErrorCode } from "../engine/errors.js";
import { errorLine, escapeControls, exitCodeOf, ioError } from "./failure.js";

it("gives every kind of mistake its exit code", () => {
  const codes: Record<ErrorCode, number> = {
    usage: 2,
    tensor: 3,
    tokenizer: 4,
    nll: 5,
    tau: 6,
    greedy: 7,
    weights: 8,
    regression: 9,
    memory: 10,
    file: 11,
    receipt: 12,
    network: 13,
    unsupported: 1,
    acceptance: 1,
    stale: 1,
    io: 1,
    closed: 1,
    busy: 1,
    internal: 1,
  };
  for (const [code, exit] of Object.entries(codes)) expect(exitCodeOf(new BitnetError(code as ErrorCode, "x")), code).toBe(exit);
  expect(exitCodeOf(new CommanderError(1, "commander.unknownOption", "error: x"))).toBe(2);
  expect(exitCodeOf(new CommanderError(0, "commander.helpDisplayed", "(outputHelp)"))).toBe(0);
  // A path that does not exist has one code everywhere.
  for (const code of ["ENOENT", "ENOTDIR"]) expect(exitCodeOf(ioError("read x", Object.assign(new Error(code), { code })))).toBe(2);
  expect(exitCodeOf(ioError("read x", Object.assign(new Error("EACCES"), { code: "EACCES" })))).toBe(1);
  expect(exitCodeOf(new TypeError("x"))).toBe(1);
  expect(exitCodeOf("x")).toBe(1);
});

it("says it in one line that can't steer a terminal", () => {
  expect(errorLine(new CommanderError(1, "c", "error: unknown option '--fo'\n(Did you mean --foo?)"))).toBe(
    "error: unknown option '--fo' (Did you mean --foo?)",
  );
  expect(errorLine(new BitnetError("tensor", "blk.0\u001b[31m\u0000\u009b\u202e.weight"))).toBe(
    "error: blk.0\\x1b[31m\\x00\\x9b\\u202e.weight",
  );
  expect(errorLine(new RangeError(""))).toBe("error: RangeError");
  expect(errorLine(new BitnetError("usage", "contextLength must be a whole number"))).toBe("error: --ctx must be a whole number");
  expect(errorLine(new BitnetError("usage", "ids must be sorted"))).toBe("error: ids must be sorted");
  expect(errorLine("thrown")).toBe("error: thrown");
});

it("writes out what could steer a terminal, one character at a time, and nothing else", () => {
  const text = "\x1b[2J\x07\r\x7f\x9b\u202e\u2066\u200f";
  const escaped = "\\x1b[2J\\x07\\x0d\\x7f\\x9b\\u202e\\u2066\\u200f";
  expect(escapeControls(text)).toBe(escaped);
  expect([...text].map(escapeControls).join("")).toBe(escaped); // however it is cut into pieces
  const plain = "Zwölf\tÄpfel\n日本語 👍🏽 שלום";
  expect(escapeControls(plain)).toBe(plain);
});

it("says why the system refused", () => {
  const refusal = Object.assign(new Error("ENOENT: no such file or directory, open 'x'"), { code: "ENOENT" });
  expect(ioError("read x", refusal)).toMatchObject({ code: "io", message: "can't read x: no such file or directory" });
  expect(ioError("read x", new Error("odd")).message).toBe("can't read x: odd");
});
