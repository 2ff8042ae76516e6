/** The environment that results of a release are recorded in. */
const VARIABLES = ["BITNET_DETERMINISTIC", "BITNET_SEED", "BITNET_NUM_THREADS"] as const;

/** The line that sets it. */
const LINE = "export BITNET_DETERMINISTIC=1 BITNET_SEED=42 BITNET_NUM_THREADS=1";

/** What is set of the deterministic environment: `NAME=value`, separated by spaces. */
export function deterministicEnvironment(env: NodeJS.ProcessEnv): string {
  return VARIABLES.filter((name) => (env[name] ?? "") !== "")
    .map((name) => `${name}=${env[name]}`)
    .join(" ");
}

/** What a release lacks of the deterministic environment; undefined: nothing. */
export function environmentFault(environment: string): string | undefined {
  const set = new Map(environment.split(" ").map((one) => one.split("=") as [name: string, value: string]));
  const missing = VARIABLES.filter(
    (name) => !(name === "BITNET_DETERMINISTIC" ? set.get(name) === "1" : /^\d+$/.test(set.get(name) ?? "")),
  );
  if (missing.length === 0) return undefined;
  return `the deterministic environment is not set (${missing.join(", ")}): run ${LINE}`;
}
