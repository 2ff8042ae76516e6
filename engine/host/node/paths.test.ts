import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { pathFrom } from "./paths.js";

test("a path is a string, or a file: URL as an object or as a string", () => {
  const path = process.platform === "win32" ? "C:\\models\\a b.gguf" : "/models/a b.gguf";
  const url = pathToFileURL(path);
  expect(pathFrom("path", path)).toBe(path);
  expect(pathFrom("path", url)).toBe(path);
  expect(pathFrom("path", url.href)).toBe(path);
  expect(pathFrom("path", "model.gguf")).toBe("model.gguf");
  expect(pathFrom("path", "C:\\model.gguf")).toBe("C:\\model.gguf");
});

test.each([
  [undefined, "path must be a path or a file: URL, not undefined"],
  ["", "path must be a path or a file: URL, not an empty string"],
  [Buffer.from("x"), "path must be a path or a file: URL, not a Uint8Array"],
  [{ href: "file:///x" }, "path must be a path or a file: URL, not an object"],
  ["https://models.example/x.gguf", /^https:\/\/models\.example\/x\.gguf: only files on this machine can be opened; download it/],
  [new URL("data:text/plain,x"), /^data:text\/plain,x: only files on this machine/],
  ["file:///a%2Fb", /^file:\/\/\/a%2Fb can't be converted to a path: /],
])("%o is refused in one sentence", (given, message) => {
  const error = expect.objectContaining({ code: "usage", message: typeof message === "string" ? message : expect.stringMatching(message) });
  expect(() => pathFrom("path", given)).toThrow(error);
});
