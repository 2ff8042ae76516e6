import { expect, test } from "vitest";
import { addressLimit } from "#host/limits.js";
import { deathOf } from "#host/threads.js";
import { ArenaPlan, allocate, refused } from "./arena.js";
import { fromPlain, toPlain } from "./messages.js";

test("the limit of addresses, from /proc/self/limits", () => {
  const line = (soft: string) =>
    `Limit  Soft Limit  Hard Limit  Units\nMax address space         ${soft}           unlimited            bytes     \nMax file locks x`;
  expect(addressLimit(line("8192000000"))).toBe(8192000000);
  expect(addressLimit(line("unlimited"))).toBe(Infinity);
  expect(addressLimit("")).toBe(Infinity);
});

test("memory that is refused is an error of its kind, with what to do", () => {
  expect(refused("5 MiB", undefined, Infinity)).toMatchObject({
    code: "memory",
    message: expect.stringMatching(/^the system refused 5 MiB of memory: .*--ctx/),
  });
  expect(refused("5 MiB", undefined, 2 ** 33).message).toMatch(/limited to 8192 MiB \(ulimit -v\).*--disable-wasm-trap-handler$/);
  // What engines throw, wherever it is.
  for (const message of [
    "WebAssembly.Memory(): could not allocate memory",
    "Array buffer allocation failed",
    "WebAssembly.Instance(): Out of memory: Cannot allocate Wasm memory for new instance",
  ])
    expect(toPlain(new RangeError(message)), message).toMatchObject({ code: "memory" });
  expect(toPlain(new RangeError("offset is out of bounds"))).toMatchObject({ code: "internal" });
  // More pages than an engine takes fail in the same way as those that the system has not.
  expect(() => allocate(65537)).toThrow(expect.objectContaining({ code: "memory" }));
});

test("a plan counts what it takes and not where it begins", () => {
  const plan = new ArenaPlan(2 ** 31, 1000);
  plan.take("a", 900);
  expect(plan.fits).toBe(true);
  plan.take("a", 100);
  expect(plan.fits).toBe(false);
  expect(plan.empty().fits).toBe(true);
});

test("a worker that dies for want of memory or of a thread is not an internal error", () => {
  const death = (code?: string) => deathOf(1, 4, Object.assign(new Error("x"), { code }));
  expect(death("ERR_WORKER_OUT_OF_MEMORY")).toMatchObject({ code: "memory", message: expect.stringContaining("--max-old-space-size") });
  expect(death("ERR_WORKER_INIT_FAILED")).toMatchObject({ code: "memory", message: expect.stringMatching(/thread 2 of 4: .*--threads/) });
  expect(death("ERR_ACCESS_DENIED")).toMatchObject({ code: "io", message: expect.stringContaining("--allow-worker") });
  expect(death("EMFILE")).toMatchObject({
    code: "io",
    message: expect.stringMatching(/worker 2 of 4 .*too many open files \(ulimit -n\)/),
  });
  expect(death()).toMatchObject({ code: "internal" });
});

test("an error comes from a worker as it was, with the lines it was thrown at", () => {
  const thrown = new TypeError("x is not a function");
  thrown.stack = "TypeError: x is not a function\n    at there (worker.js:1:2)";
  expect(fromPlain(toPlain(thrown))).toMatchObject({
    code: "internal",
    message: "a worker failed: x is not a function",
    stack: thrown.stack,
  });
});
