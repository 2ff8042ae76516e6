/** A program: opens, uses and closes as many models as it is told, and prints how many MiB of memory the process holds after the first number and at the end. */
import { loadModel } from "../index.js";

const figures: Record<string, number> = {};
const [before, most] = process.argv.slice(2).map(Number) as [number, number];
for (let count = 1; count <= most; count++) {
  await use(count % 5);
  if (count === before || count === most) figures[count] = await resident();
}
console.log(JSON.stringify(figures));

/** One model's life, in one of several ways. */
async function use(way: number): Promise<void> {
  const controller = new AbortController();
  if (way === 0) {
    // It never comes to life.
    setTimeout(() => controller.abort(), 10);
    await loadModel(undefined, { threads: 2, signal: controller.signal }).then(
      (model) => model.close(),
      () => undefined,
    );
    return;
  }
  const model = await loadModel(undefined, { threads: way === 1 ? 2 : 1 });
  const answer = model.generate("Once upon a time", { maxTokens: way === 1 ? 4 : 200, signal: controller.signal });
  const failing = model.score("Once upon a time there was", {
    onLogits: () => {
      throw new Error("the listener's own");
    },
  });
  const failed = failing.catch(() => undefined);
  try {
    let read = 0;
    for await (const _ of answer) {
      if (++read < 3) continue;
      if (way === 2) controller.abort();
      if (way === 3) break;
      if (way === 4) void model.close();
    }
  } catch {
    // closed meanwhile
  } finally {
    await model.close();
    await failed;
  }
}

/** Without garbage. */
async function resident(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return Math.round(process.memoryUsage().rss / 2 ** 20);
}
