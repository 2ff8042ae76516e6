import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { revectorizeFlag } from "#host/v8-flags.js";

// What makes the kernels fast must be in what the compilers emit: in AssemblyScript's text, and in V8's code where it makes 256 bits of it.

const count = (text: string, pattern: RegExp): number => text.match(pattern)?.length ?? 0;
const wat = (tier: string): string => readFileSync(`dist/kernels/${tier}.wat`, "utf8");

describe("AssemblyScript's text", () => {
  it("relaxed: dots of bytes for every product, and no fused operation anywhere", () => {
    // 16 in the GEMV and 8 in the GEMM, each twice in the wide layout.
    expect(count(wat("relaxed"), /i16x8\.relaxed_dot_i8x16_i7x16_s/g)).toBeGreaterThanOrEqual(24 + 48);
    expect(wat("relaxed")).not.toMatch(/relaxed_n?madd/);
  });

  it("plain: dots of 16 bits, nothing relaxed", () => {
    expect(count(wat("plain"), /i32x4\.dot_i16x8_s/g)).toBeGreaterThanOrEqual(8 + 4);
    expect(wat("plain")).not.toMatch(/relaxed/);
  });
});

const flag = revectorizeFlag();
const processor = existsSync("/proc/cpuinfo") ? readFileSync("/proc/cpuinfo", "utf8") : "";
const avx2 = /\bavx2\b/.test(processor);
const vnni = /\bavx_vnni\b/.test(processor);

/** V8's optimised code of the relaxed module, as text. */
function machineCode(...flags: string[]): string {
  const compile = 'new WebAssembly.Module(require("node:fs").readFileSync("dist/kernels/relaxed.wasm"))';
  const all = ["--no-liftoff", "--no-wasm-lazy-compilation", "--print-wasm-code", ...flags];
  const { stdout, status } = spawnSync(process.execPath, [...all, "-e", compile], { encoding: "utf8", maxBuffer: 2 ** 28 });
  expect(status).toBe(0);
  return stdout;
}

// Where there is such code to look at: Node 24 and newer, on processors with AVX2. `.ci/run` has both.
if (flag !== undefined && avx2) {
  describe("V8's code", () => {
    it("multiplies 32 bytes at a time in the wide tier, and only with the flag", () => {
      const wide = machineCode(flag);
      // Those of the wide layout, small batches' too, of scales in groups, and of lists of columns, the fewest of which are 8.
      expect(count(wide, /vpmaddubsw ymm/g)).toBeGreaterThan(194 - 8);
      expect(count(wide, /vpmaddwd ymm/g)).toBeGreaterThanOrEqual(74 + 8 + 16); // others, the scan of one state and of two
      // Attention over codes of 16 bits: four accumulators of two queries and of one are six vectors, in scores and in weighted sums.
      expect(count(wide, /vpsrad ymm\w+,ymm\w+,7/g)).toBeGreaterThanOrEqual(6);
      expect(count(wide, /vpsrad ymm\w+,ymm\w+,4/g)).toBeGreaterThanOrEqual(6);
      // Of 8 bits: 16 are widened at once, for two queries and for one, in scores and in weighted sums.
      expect(count(wide, /vpmovsxbw ymm/g)).toBeGreaterThanOrEqual(8);
      expect(count(machineCode(), /vpmaddubsw ymm/g)).toBe(0);
    });

    // On a processor without AVX-VNNI, V8 has nothing to make it of.
    it.runIf(vnni)("also adds them in the same instruction, in the vnni tier", () => {
      const wide = machineCode(flag);
      // Products, and the scan of the head; no loop has fewer than 8.
      expect(count(wide, /vpdpbusd ymm/g)).toBeGreaterThan(206 - 8);
      expect(count(wide, /vpdpbusd xmm/g)).toBe(0);
    });
  });
}
