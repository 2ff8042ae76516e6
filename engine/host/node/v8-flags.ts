import { spawnSync } from "node:child_process";
import { setFlagsFromString } from "node:v8";

/** What V8's flags depend on. */
export interface V8Host {
  /** V8's version, such as 13.6; undefined: another engine, or one whose flags are not ours to set. */
  readonly v8: number | undefined;
  readonly arch: string;
  /** Whether V8 was built with the pass that makes 256-bit code (v8_enable_wasm_simd256_revec). */
  readonly revectorizer: boolean;
  /** What `node --v8-options` prints. */
  readonly listFlags: () => string;
}

// V8 prints a complaint about a flag that it doesn't know, so a flag is set only where it is known to be there.

/** Major and minor as a number that can be compared: V8 has had no minor above 9 since 2021. */
const RELAXED_BY_DEFAULT = 11.4;
/** Before, the pass misses our kernels; it is the V8 of Node 24. */
const REVECTORIZER_WORKS = 13.6;
/** The last V8 that is known to call it experimental. */
const EXPERIMENTAL_REVECTORIZER = 14.6;

let host: V8Host | undefined;

function ownHost(): V8Host {
  const { v8, bun, deno } = process.versions;
  const variables = process.config?.variables as Readonly<Record<string, unknown>> | undefined;
  host ??= {
    v8: v8 === undefined || bun !== undefined || deno !== undefined ? undefined : Number.parseFloat(v8),
    arch: process.arch,
    revectorizer: variables?.v8_enable_wasm_simd256_revec === 1,
    listFlags: () => spawnSync(process.execPath, ["--v8-options"], { encoding: "utf8", timeout: 5000, maxBuffer: 2 ** 22 }).stdout ?? "",
  };
  return host;
}

/** The flag with which V8 compiles relaxed SIMD; undefined: it does so without, or not at all. */
export function relaxedSimdFlag({ v8 } = ownHost()): string | undefined {
  return v8 !== undefined && v8 < RELAXED_BY_DEFAULT ? "--experimental-wasm-relaxed-simd" : undefined;
}

/** Whether V8 multiplies and adds bytes rightly: that of Node 20 doesn't, in code that it hasn't optimised. */
export function addsProducts({ v8 } = ownHost()): boolean {
  return v8 === undefined || v8 >= RELAXED_BY_DEFAULT;
}

/** Whether V8 can make 256-bit code of pairs of 128-bit operations, with a flag. */
export function canRevectorize({ v8, arch, revectorizer } = ownHost()): boolean {
  return v8 !== undefined && arch === "x64" && revectorizer && v8 >= REVECTORIZER_WORKS;
}

/** That flag; undefined if there is none. Of a V8 newer than all that are known it asks a process, which takes 50 ms. */
export function revectorizeFlag(of = ownHost()): string | undefined {
  if (!canRevectorize(of)) return undefined;
  if (of.v8! <= EXPERIMENTAL_REVECTORIZER) return "--experimental-wasm-revectorize";
  return /^ *(--(?:experimental-)?wasm-revectorize)\b/m.exec(of.listFlags())?.[1];
}

/** Sets a flag of this process. */
export function setFlag(flag: string): void {
  setFlagsFromString(flag);
}
