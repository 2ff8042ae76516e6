import { readModule } from "#host/kernel-files.js";
import { HOST_NAME } from "#host/name.js";
import { addsProducts, canRevectorize, relaxedSimdFlag, revectorizeFlag, setFlag } from "#host/v8-flags.js";
import { BitnetError } from "../errors.js";
import { allocate } from "./arena.js";
import { COUNTER_BYTES } from "./counters.js";
import { instantiate, type Kernels, ROW_GROUP, TIERS, type Tier, ternaryScratch } from "./kernels.js";
import { SELF_TEST_BYTES, selfTest } from "./self-test.js";

/** Compiled kernels and why these. */
export interface ChosenKernels {
  readonly tier: Tier;
  readonly why: string;
  readonly module: WebAssembly.Module;
}

/** The flag is experimental: less gain than this is not worth it. */
const WIDE_GAIN = 1.15;
/** Where the instruction is missing, what stands for it is slower: any gain shows that it is there. */
const VNNI_GAIN = 1.05;
/** More is not to be had by twice the width: then V8 has optimised one of the two alone. */
const MOST_GAIN = 4;
/** Packed weights from which 256 bits are worth the time to measure them: smaller models are in the caches anyway. */
const WORTH_WIDE_BYTES = 64 * 2 ** 20;
const MEASURE_MS = 25;
/** V8 optimises on other threads: until then a tier can show that it is faster. */
const LATEST_WIDE_MS = 150;
const LATEST_VNNI_MS = 50; // much less is lost than with 256 bits
/** A turn of the measurement takes less; what is more went to other programs, which also delay V8's threads, and doesn't count. */
const LONGEST_TURN_MS = 1;
/** Rows of the batch in which `vnni` is measured: it has a product of its own for batches. */
const BATCH = 16;
const NO_WIDE = "256-bit code needs Node 24 or newer on x64";

/** The tiers that can be asked for on this Node, if it has relaxed SIMD. */
export function tiersHere(): readonly Tier[] {
  return TIERS.filter((tier) => tier !== "vnni" || addsProducts());
}

/**
 * Picks the fastest tier that computes rightly here, or the one asked for.
 * @param setFlags may set the process-wide V8 flags that a tier needs; a tier asked for by name sets them anyway
 * @param weightBytes packed ternary weights of the model: a small one is not worth the time to measure the widest tier
 * @throws BitnetError usage: the tier asked for can't run here; internal: it computes wrongly
 */
export function chooseKernels(wanted: Tier | "auto", setFlags: boolean, weightBytes: number): ChosenKernels {
  if (wanted !== "auto") {
    if (!tiersHere().includes(wanted)) {
      throw new BitnetError("usage", `the ${wanted} tier requires Node 22 or newer: use the tier auto or relaxed (tier, --tier)`);
    }
    const module = compile(wanted, true);
    if (module === undefined) {
      throw new BitnetError(
        "usage",
        `this ${HOST_NAME} has no relaxed SIMD, which the ${wanted} tier requires: use the tier auto or plain (tier, --tier)`,
      );
    }
    const wrong = faultOf(module, wanted);
    if (wrong !== undefined) throw new BitnetError("internal", `the ${wanted} kernels give wrong results on this machine: ${wrong}`);
    const narrow = (wanted === "wide" || wanted === "vnni") && !canRevectorize();
    return { tier: wanted, why: narrow ? `requested; ${NO_WIDE}, so it runs in 128 bits` : "asked for", module };
  }
  const wideFlag = weightBytes >= WORTH_WIDE_BYTES ? revectorizeFlag() : undefined;
  const mayWide = setFlags && wideFlag !== undefined;
  // One module for both layouts, with the flag from the start: V8 would share the code of two with the same bytes.
  const module = compile(mayWide ? "wide" : "relaxed", setFlags);
  if (module === undefined) {
    return plain(
      relaxedSimdFlag() === undefined || setFlags
        ? `this ${HOST_NAME} has no relaxed SIMD`
        : "relaxed SIMD needs a V8 flag on this Node, and setting flags was not allowed (v8Flags)",
    );
  }
  let why = `the fastest this ${HOST_NAME} can run`;
  if (mayWide) {
    const gain = gainOf(module, "relaxed", "wide", 1, WIDE_GAIN, LATEST_WIDE_MS);
    const times = `256 bits were ${gain.toFixed(2)} times as fast as 128 bits in a short test`;
    // After the measurement: it is the optimised code that is tested.
    const wrong = faultOf(module, "wide");
    if (gain >= WIDE_GAIN && wrong === undefined) {
      const more = gainOf(module, "wide", "vnni", BATCH, VNNI_GAIN, LATEST_VNNI_MS);
      if (more >= VNNI_GAIN && more <= MOST_GAIN && faultOf(module, "vnni") === undefined)
        return { tier: "vnni", why: `${times}, and AVX-VNNI ${more.toFixed(2)} times as fast as other 256 bits`, module };
      return { tier: "wide", why: times, module };
    }
    why = wrong === undefined ? times : `the 256-bit kernels failed their self-test: ${wrong}`;
  } else if (wideFlag !== undefined) why = "256 bits need a V8 flag, and setting flags was not allowed (v8Flags)";
  else if (weightBytes < WORTH_WIDE_BYTES && canRevectorize()) why = "256 bits are no faster for a model of this size";
  const wrong = faultOf(module, "relaxed");
  return wrong === undefined ? { tier: "relaxed", why, module } : plain(`the relaxed kernels failed their self-test: ${wrong}`);
}

/** The module of a tier; undefined if this engine can't compile it. */
function compile(tier: Tier, setFlags: boolean): WebAssembly.Module | undefined {
  if (tier === "plain") return compileModule("plain");
  requireWebAssembly();
  const code = readModule("relaxed");
  if (code instanceof WebAssembly.Module) return code;
  if (setFlags && !WebAssembly.validate(code)) setIfAny(relaxedSimdFlag());
  if (!WebAssembly.validate(code)) return undefined;
  if (tier === "wide" || tier === "vnni") setIfAny(revectorizeFlag());
  return new WebAssembly.Module(code);
}

function setIfAny(flag: string | undefined): void {
  if (flag !== undefined) setFlag(flag);
}

function plain(why: string): ChosenKernels {
  return { tier: "plain", why, module: compileModule("plain") };
}

/** A compiled module of the package that every engine can have. @throws BitnetError usage, unsupported: this one has no WebAssembly, or no SIMD in it */
export function compileModule(name: "plain" | "products"): WebAssembly.Module {
  requireWebAssembly();
  const code = readModule(name);
  if (code instanceof WebAssembly.Module) return code;
  if (!WebAssembly.validate(code)) {
    throw new BitnetError(
      "unsupported",
      "WebAssembly has no SIMD here, but all kernels require it: use a processor with SSE4.1 (x64) or NEON (ARM64), without V8 flags that turn it off",
    );
  }
  return new WebAssembly.Module(code);
}

function requireWebAssembly(): void {
  if (typeof WebAssembly === "object") return;
  throw new BitnetError(
    "usage",
    "Node has no WebAssembly here (--jitless turns it off), but the kernels require it: start Node without that flag",
  );
}

/** What the tier's kernels compute wrongly, if anything. */
function faultOf(module: WebAssembly.Module, tier: Tier): string | undefined {
  const memory = memoryOf(COUNTER_BYTES + SELF_TEST_BYTES);
  return selfTest(instantiate(module, memory, tier, 0), tier, memory, COUNTER_BYTES);
}

function memoryOf(bytes: number): WebAssembly.Memory {
  return allocate(Math.ceil(bytes / 65536));
}

/**
 * How many times as fast `fast` multiplies as `slow`, in the cache, both of the same module.
 * @param columns of the product
 * @param least measuring ends when this is reached, and not more than can be, or after `latest` ms of this thread's own
 * @internal
 */
export function gainOf(module: WebAssembly.Module, slow: Tier, fast: Tier, columns: number, least: number, latest: number): number {
  const k = 2560; // of the published 2B model
  const rows = 24;
  const weights = COUNTER_BYTES;
  const x = weights + (rows * k) / ROW_GROUP;
  const meta = x + (columns + 1) * k;
  const y = meta + (columns + 1) * 8;
  const scratch = y + (columns + 1) * rows * 4;
  const memory = memoryOf(scratch + ternaryScratch(k));
  const kernels: readonly Kernels[] = [instantiate(module, memory, slow, 0), instantiate(module, memory, fast, 0)];
  const calls = columns === 1 ? BATCH : 1;
  const best = [Infinity, Infinity];
  const gain = (): number => best[0]! / best[1]!;
  // Long enough for V8 to have both optimised; the fastest of many is what they can do.
  let last = performance.now();
  for (let passed = 0; passed < MEASURE_MS || (passed < latest && (gain() < least || gain() > MOST_GAIN)); ) {
    kernels.forEach(({ ternary }, i) => {
      const start = performance.now();
      for (let call = 0; call < calls; call++) ternary(weights, rows, k, 1, x, k, meta, columns, y, rows * 4, scratch);
      best[i] = Math.min(best[i]!, performance.now() - start);
    });
    const now = performance.now();
    passed += Math.min(now - last, LONGEST_TURN_MS);
    last = now;
  }
  return gain();
}
