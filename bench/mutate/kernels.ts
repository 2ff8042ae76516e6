import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import asc from "assemblyscript/asc";

/** The compiled modules, by their file. */
export type Modules = Readonly<Record<string, Uint8Array>>;

const TIER = ["-O3", "--noAssert", "--runtime", "stub", "--importMemory", "--enable", "simd", "--enable", "threads", "--sharedMemory"];
const BUILDS: Readonly<Record<string, readonly string[]>> = {
  "dist/kernels/plain.wasm": ["kernels/assembly/index.ts", ...TIER, "--maximumMemory", "65536"],
  "dist/kernels/relaxed.wasm": ["kernels/assembly/index.ts", ...TIER, "--maximumMemory", "65536", "--enable", "relaxed-simd"],
  "dist/kernels/products.wasm": ["kernels/assembly/products.ts", "-O3", "--noAssert", "--runtime", "stub", "--enable", "simd"],
};

/** Compiles the kernels as scripts/build.mjs does, with one file changed. @returns undefined: it does not compile */
export async function compileKernels(
  root: string,
  changed?: { readonly file: string; readonly text: string },
): Promise<Modules | undefined> {
  const made: Record<string, Uint8Array> = {};
  for (const [out, args] of Object.entries(BUILDS)) {
    const { error } = await asc.main([...args, "--outFile", "out.wasm"], {
      stdout: asc.createMemoryStream(),
      stderr: asc.createMemoryStream(),
      readFile: (name, folder) => {
        if (name === changed?.file) return changed.text;
        const path = join(folder === "." ? root : folder, name);
        return existsSync(path) ? readFileSync(path, "utf8") : null;
      },
      writeFile: (name, data) => {
        if (name === "out.wasm") made[out] = data as Uint8Array;
      },
      listFiles: () => [],
    });
    if (error) return undefined;
  }
  return made;
}

/** @throws Error if that gives other modules than those of dist/ */
export async function checkCompiler(root: string): Promise<Modules> {
  const made = await compileKernels(root);
  if (!made) throw new Error("the kernels do not compile");
  for (const [path, data] of Object.entries(made))
    if (!readFileSync(join(root, path)).equals(data)) throw new Error(`${path} is not what kernels/assembly gives: run npm run build`);
  return made;
}
