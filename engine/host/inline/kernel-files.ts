import plain from "../../../kernels/plain.wasm";
import products from "../../../kernels/products.wasm";
import relaxed from "../../../kernels/relaxed.wasm";

import type { ModuleCode } from "../modules.js";

const modules = { plain, products, relaxed };

/** A module that was compiled before the program started: later nothing may be compiled. */
export function readModule(name: keyof typeof modules): ModuleCode {
  return modules[name];
}

export async function prepareKernels(): Promise<void> {}
