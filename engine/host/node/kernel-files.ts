import { readFileSync } from "node:fs";
import type { ModuleCode } from "../modules.js";
import { packageFile } from "./files.js";

/** Paths of the compiled kernels. The main program finds them: a bundler moves the workers' program away from the files beside it. */
export type KernelFiles = Readonly<Record<"plain" | "relaxed" | "products", string>>;

let found: KernelFiles | undefined;

/** @throws BitnetError io: as `packageFile` */
export function kernelFiles(): KernelFiles {
  // Written out, each a literal: bundlers find files so.
  found ??= {
    plain: packageFile("its kernels", () => new URL("../../../kernels/plain.wasm", import.meta.url)),
    relaxed: packageFile("its kernels", () => new URL("../../../kernels/relaxed.wasm", import.meta.url)),
    products: packageFile("its kernels", () => new URL("../../../kernels/products.wasm", import.meta.url)),
  };
  return found;
}

/** In a worker: what the main program found. */
export function useKernelFiles(files: KernelFiles): void {
  found = files;
}

/** A compiled module, as bytes. */
export function readModule(name: keyof KernelFiles): ModuleCode {
  return new Uint8Array(readFileSync(kernelFiles()[name]));
}

/** Before `readModule`: here files can be read at once. */
export async function prepareKernels(): Promise<void> {}
