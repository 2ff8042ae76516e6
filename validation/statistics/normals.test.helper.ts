import { uniform } from "../../engine/sampling/rng.js";

/** Numbers of the standard normal distribution, the same for a seed (Box and Muller 1958). */
export function normals(seed: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    const [u, v] = [uniform(seed, 2 * i), uniform(seed, 2 * i + 1)];
    return Math.sqrt(-2 * Math.log(1 - u)) * Math.cos(2 * Math.PI * v);
  });
}
