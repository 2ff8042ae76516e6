// What the test of sandboxes runs in one.
import { serveSandbox } from "./sandbox-program.js";

serveSandbox((job) => {
  if (job === "loop") for (;;);
  if (job === "grow") for (const all: number[][] = []; ; ) all.push(Array(10_000).fill(1));
  if (job === "grow at once") return "x".repeat(2 ** 28).toUpperCase().length;
  return { job, process: process.pid };
});
