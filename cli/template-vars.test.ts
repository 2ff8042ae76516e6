import { expect, it } from "vitest";
import { templateVar } from "./template-vars.js";

it("reads name=value, as JSON where it is JSON", () => {
  expect(templateVar("enable_thinking=false", templateVar('tools=[{"a": 1}]'))).toEqual({ tools: [{ a: 1 }], enable_thinking: false });
  expect(templateVar("date=2025-07-31")).toEqual({ date: "2025-07-31" });
  expect(templateVar("a=b=c d")).toEqual({ a: "b=c d" });
  expect(templateVar("a=")).toEqual({ a: "" });
});

it.each(["", "a", "=1", "a b=1", "1a=1"])("refuses %j", (text) => {
  expect(() => templateVar(text)).toThrow("It must have the form name=value.");
});

it("refuses a name that comes twice", () => {
  expect(() => templateVar("a=1", { a: 2 })).toThrow("a is set twice.");
});
