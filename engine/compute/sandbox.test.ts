import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { Sandbox, type SandboxError } from "./sandbox.js";

const limits = { milliseconds: 500, megabytes: 64 };
const program = new URL("./sandbox-echo.test.helper.js", import.meta.url);
const reasonOf = (run: Promise<unknown>) =>
  run.then(
    () => "none",
    (error: SandboxError) => error.reason,
  );

test("jobs run one after another in one process, which is not this one", async () => {
  const sandbox = new Sandbox(program, limits);
  const answers = (await Promise.all([1, "two", { three: 3 }].map((job) => sandbox.run(job)))) as { job: unknown; process: number }[];
  expect(answers.map(({ job }) => job)).toEqual([1, "two", { three: 3 }]);
  expect(new Set(answers.map((answer) => answer.process)).size).toBe(1);
  expect(answers[0]!.process).not.toBe(process.pid);
});

test("a job that passes a limit is ended, whatever it does, and the next ones are not", async () => {
  const sandbox = new Sandbox(program, limits);
  const jobs = ["loop", "a", "grow", "b", "grow at once", "c"].map((job) => reasonOf(sandbox.run(job)));
  // Where memory runs out, time may run out before.
  const ended = expect.stringMatching(/time|memory/) as unknown;
  expect(await Promise.all(jobs)).toEqual(["time", "none", ended, "none", ended, "none"]);
});

test("a program that is not there", async () => {
  expect(await reasonOf(new Sandbox(new URL("./none.js", import.meta.url), limits).run(1))).toBe("start");
});

test("a process that has used one ends when its work is done", () => {
  const source = `
    import { Sandbox } from ${JSON.stringify(new URL("./sandbox.js", import.meta.url).href)};
    const sandbox = new Sandbox(new URL(${JSON.stringify(program.href)}), ${JSON.stringify(limits)});
    console.log((await sandbox.run(1)).job, (await sandbox.run(2)).job);`;
  const { status, stdout } = spawnSync(process.execPath, ["--input-type=module"], { input: source, encoding: "utf8", timeout: 30_000 });
  expect([status, stdout]).toEqual([0, "1 2\n"]);
});
