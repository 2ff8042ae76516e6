import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { temporaryDirectory } from "../end-to-end/derive.test.helper.js";
import { golden, type Variant } from "../end-to-end/golden.test.helper.js";
import { type OracleFile, readOracles } from "./oracle.js";

const FOLDER = "models/bitnet-stories-4m/oracle";
const GOLDEN = "validation/golden/model/open";
const TOP = 50;

const temporary = temporaryDirectory();
afterAll(temporary.remove);

it("what is shipped is an excerpt of the golden outputs, number by number", () => {
  const { requests, implementations } = JSON.parse(readFileSync(join(FOLDER, "oracle.json"), "utf8")) as OracleFile;
  expect(requests.map(({ ids }) => ids.length)).toEqual([5, 17, 10, 21, 5, 20, 25, 192]);
  expect(implementations.map(({ name }) => name)).toEqual(["hf-packed", "hf-f32ref", "bitnetcpp-i2_s"]);
  for (const { name, file, greedy } of implementations) {
    const read = (which: string): Buffer => readFileSync(join(GOLDEN, name, which));
    const [logits, nll, ids] = [read("top50_logits.f32"), read("nll.f32"), read("top50_ids.u16")];
    const parts: [Buffer[], Buffer[], Buffer[]] = [[], [], []];
    for (const request of requests) {
      const whole = golden.requests.find(({ id }) => id === request.id)!;
      const n = request.ids.length;
      expect(whole.ids.slice(0, n)).toEqual(request.ids);
      parts[0].push(logits.subarray(whole.tok_offset * TOP * 4, (whole.tok_offset + n) * TOP * 4));
      parts[1].push(nll.subarray(whole.nll_offset * 4, (whole.nll_offset + n - 1) * 4));
      parts[2].push(ids.subarray(whole.tok_offset * TOP * 2, (whole.tok_offset + n) * TOP * 2));
      const chosen = greedy[request.id];
      if (chosen) expect(chosen).toEqual(golden.results[name as Variant][request.id]!.greedy);
    }
    expect(readFileSync(join(FOLDER, file)).equals(Buffer.concat(parts.flat()))).toBe(true);
    expect(Object.keys(greedy)).toHaveLength(name.startsWith("hf") ? 7 : 0);
  }
});

it("an answer is like itself, and not like another", () => {
  const { oracles } = readOracles();
  const answer = oracles[0]!.answers[1]!;
  const row = new Float32Array(4096).fill(-100);
  const same = answer.compare({ logits: answer.ids.map(() => row), nll: answer.ids.slice(1).map(() => 0) });
  expect(same.taus).toEqual([]); // all tied: nothing is learnt
  expect(same.uninformative).toBe(17);
  expect(same.nllA).toHaveLength(16);
});

it("altered outputs are refused", () => {
  const folder = join(temporary.path, "oracle");
  cpSync(FOLDER, folder, { recursive: true });
  expect(readOracles(folder).oracles).toHaveLength(3);
  const path = join(folder, "hf-packed.bin");
  const bytes = readFileSync(path);
  bytes[1000]! ^= 1;
  writeFileSync(path, bytes);
  expect(() => readOracles(folder)).toThrow(expect.objectContaining({ code: "file", message: expect.stringContaining("hf-packed.bin") }));
});
