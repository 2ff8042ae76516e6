import { expect, it } from "vitest";
import { kernelFiles, useKernelFiles } from "./kernel-files.js";

it("a worker uses the files that the main program found", () => {
  const own = kernelFiles();
  const found = { plain: "a.wasm", relaxed: "b.wasm", products: "c.wasm" };
  try {
    useKernelFiles(found);
    expect(kernelFiles()).toEqual(found);
  } finally {
    useKernelFiles(own);
  }
  expect(kernelFiles()).toEqual(own);
});
