import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Lease, ServedModel } from "./models.js";
import { ModelPool, type ModelSource, type PooledModel } from "./pool.js";

/** Models that take memory while they are loaded, and say when something is wrong. */
class Machine {
  /** Bytes of what is loaded, by name. */
  readonly loaded = new Map<string, number>();
  readonly inUse = new Map<string, number>();
  loads = 0;

  /** @param delay lets other things happen first */
  constructor(private readonly delay: () => Promise<void> = async () => {}) {}

  source(name: string, bytes: number, guess = bytes, fails = () => false): ModelSource {
    const load = async (): Promise<PooledModel> => {
      await this.delay();
      if (fails()) throw new Error(`${name} can't be loaded`);
      if (this.loaded.has(name)) throw new Error(`${name} was loaded twice`);
      this.loads++;
      this.loaded.set(name, bytes);
      const close = async (): Promise<void> => {
        if ((this.inUse.get(name) ?? 0) > 0) throw new Error(`${name} was closed while it was in use`);
        await this.delay();
        if (!this.loaded.delete(name)) throw new Error(`${name} was closed twice`);
      };
      return { model: { name, close } as unknown as PooledModel["model"], bytes };
    };
    return { bytes: guess, load };
  }

  use(name: string, { model, release }: Lease): () => void {
    expect((model as ServedModel & { name: string }).name).toBe(name);
    expect(this.loaded.has(name)).toBe(true);
    this.inUse.set(name, (this.inUse.get(name) ?? 0) + 1);
    return () => {
      this.inUse.set(name, this.inUse.get(name)! - 1);
      release(false);
    };
  }

  get bytes(): number {
    return [...this.loaded.values()].reduce((sum, bytes) => sum + bytes, 0);
  }
}

const live = new AbortController().signal;
const LONG = 1e8;

describe("a pool of models", () => {
  it("never takes more than its budget, closes nothing that is in use, and answers everybody", async () => {
    const sizes = { a: 3, b: 4, c: 5, d: 9 };
    const request = fc.record({
      name: fc.constantFrom(...(Object.keys(sizes) as (keyof typeof sizes)[])),
      after: fc.nat(5),
      lasts: fc.nat(5),
      aborts: fc.option(fc.nat(3), { freq: 4 }),
    });
    const check = fc.asyncProperty(
      fc.scheduler(),
      fc.array(request, { maxLength: 25 }),
      fc.integer({ min: 9, max: 14 }),
      async (s, requests, memory) => {
        const machine = new Machine(() => s.schedule(Promise.resolve()));
        const sources = new Map(Object.entries(sizes).map(([name, bytes]) => [name, machine.source(name, bytes)]));
        const pool = new ModelPool(sources, { memory, idleMs: LONG });
        const pause = async (steps: number): Promise<void> => {
          for (let i = 0; i < steps; i++) await s.schedule(Promise.resolve());
        };
        let answered = 0;
        const work = requests.map(async ({ name, after, lasts, aborts }) => {
          const client = new AbortController();
          await pause(after);
          if (aborts !== null) void pause(aborts).then(() => client.abort(new Error("gone")));
          const lease = await pool.use(name, client.signal).catch((error: unknown) => {
            if (error !== client.signal.reason) throw error;
            return undefined;
          });
          const done = lease && machine.use(name, lease);
          expect(machine.bytes).toBeLessThanOrEqual(memory);
          await pause(lasts);
          done?.();
          answered++;
        });
        await s.waitFor(Promise.all(work));
        expect(answered).toBe(requests.length);
        await s.waitFor(pool.close());
        expect(machine.loaded.size).toBe(0);
      },
    );
    await fc.assert(check, { numRuns: 150 });
  });

  it("loads once for all who ask at the same time, and keeps what is used most recently", async () => {
    const machine = new Machine();
    const sources = new Map(["a", "b", "c"].map((name) => [name, machine.source(name, 4)]));
    const pool = new ModelPool(sources, { memory: 8, idleMs: LONG });
    const leases = await Promise.all([1, 2, 3].map(() => pool.use("a", live)));
    expect(machine.loads).toBe(1);
    for (const { release } of leases) release(false);
    (await pool.use("b", live)).release(false);
    (await pool.use("a", live)).release(false);
    (await pool.use("c", live)).release(false);
    expect([...machine.loaded.keys()].sort()).toEqual(["a", "c"]);
    expect(pool.states().map(({ name, model, loads }) => [name, model !== undefined, loads])).toEqual([
      ["a", true, 1],
      ["b", false, 1],
      ["c", true, 1],
    ]);
    await pool.close();
  });

  it("waits for room that others use, and then has its turn before new work for them", async () => {
    const machine = new Machine();
    const sources = new Map(["busy", "other"].map((name) => [name, machine.source(name, 5)]));
    const pool = new ModelPool(sources, { memory: 8, idleMs: LONG });
    const first = machine.use("busy", await pool.use("busy", live));
    const order: string[] = [];
    const other = pool.use("other", live).then((lease) => {
      order.push("other");
      machine.use("other", lease)();
    });
    await new Promise((resolve) => setImmediate(resolve));
    const again = pool.use("busy", live).then((lease) => {
      order.push("busy");
      machine.use("busy", lease)();
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(order).toEqual([]);
    first();
    await Promise.all([other, again]);
    expect(order).toEqual(["other", "busy"]);
    await pool.close();
  });

  it("refuses what can't have room: at once if it never can, or after a while", async () => {
    const machine = new Machine();
    const sources = new Map([
      ["small", machine.source("small", 5)],
      ["large", machine.source("large", 9)],
      ["larger than thought", machine.source("larger than thought", 9, 1)],
      ["other", machine.source("other", 5)],
    ]);
    const pool = new ModelPool(sources, { memory: 8, idleMs: LONG, waitMs: 20 });
    for (const name of ["large", "larger than thought"]) {
      const message = expect.stringMatching(/needs 1 MiB of memory, more than/);
      await expect(pool.use(name, live)).rejects.toMatchObject({ status: 503, message });
      expect(machine.bytes).toBe(0);
    }
    const done = machine.use("small", await pool.use("small", live));
    await expect(pool.use("other", live)).rejects.toMatchObject({ status: 503, details: { headers: { "retry-after": "10" } } });
    done();
    machine.use("other", await pool.use("other", live))();
    await pool.close();
  });

  it("tells why a load failed, and tries again; a model that failed is loaded anew; an idle one is unloaded", async () => {
    const machine = new Machine();
    let broken = true;
    const sources = new Map([["a", machine.source("a", 5, 5, () => broken)]]);
    const pool = new ModelPool(sources, { memory: 8, idleMs: 5 });
    await expect(pool.use("a", live)).rejects.toThrow("a can't be loaded");
    broken = false;
    const lease = await pool.use("a", live);
    lease.release(true);
    lease.release(true); // once
    await expect.poll(() => machine.loaded.size).toBe(0);
    (await pool.use("a", live)).release(false);
    expect(machine.loads).toBe(2);
    await expect.poll(() => machine.loaded.size).toBe(0);
    await pool.close();
  });
});
