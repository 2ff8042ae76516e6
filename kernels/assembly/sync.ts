// How the threads meet. The control block at `control`: five u32, each in a cache line of its own.
const ARRIVED: usize = 0; // threads that have reached the present barrier
const PHASE: usize = 64; // barriers passed
const SLEEPERS: usize = 128; // threads that gave up spinning
const CHUNK: usize = 192; // next chunk of work of the present phase

// About 50 µs: a phase of a small model is over by then, and another process's turn on the core isn't burnt.
const SPINS: i32 = 20000;

/** Waits until all `threads` have come; chunks then start from 0 again. */
export function barrier(control: usize, threads: u32): void {
  const phase = atomic.load<u32>(control + PHASE);
  if (atomic.add<u32>(control + ARRIVED, 1) + 1 == threads) {
    atomic.store<u32>(control + ARRIVED, 0);
    atomic.store<u32>(control + CHUNK, 0);
    atomic.store<u32>(control + PHASE, phase + 1);
    if (atomic.load<u32>(control + SLEEPERS) != 0) atomic.notify(control + PHASE, -1);
    return;
  }
  for (let i = 0; i < SPINS; i++) {
    if (atomic.load<u32>(control + PHASE) != phase) return;
  }
  atomic.add<u32>(control + SLEEPERS, 1);
  while (atomic.load<u32>(control + PHASE) == phase) atomic.wait<i32>(control + PHASE, phase, -1);
  atomic.sub<u32>(control + SLEEPERS, 1);
}

/** A number that no other thread gets in this phase: 0, 1, 2, … */
export function nextChunk(control: usize): u32 {
  return atomic.add<u32>(control + CHUNK, 1);
}
