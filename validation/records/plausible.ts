import type { PageProvenance } from "./origin.js";
import type { Provenance } from "./provenance.js";

/** The day of the first record that this package wrote. */
const FIRST_DAY = "2026-11-22";
/** Clocks of two machines may differ by this much. */
const CLOCKS_MS = 24 * 3600 * 1000;
/** The oldest Node that the package runs on: major, minor. */
const OLDEST_NODE = [20, 19] as const;
/** Processors that Node has a name for: https://nodejs.org/api/process.html#processarch */
const ARCHITECTURES = ["arm", "arm64", "ia32", "loong64", "mips", "mipsel", "ppc64", "riscv64", "s390x", "x64"];
/** Systems that Node has a name for: https://nodejs.org/api/process.html#processplatform */
const SYSTEMS = ["aix", "android", "cygwin", "darwin", "freebsd", "haiku", "linux", "netbsd", "openbsd", "sunos", "win32"];

type Contradiction = readonly [field: string, isWrong: boolean, why: string];

/**
 * Whether the claims of a record can be true together. What nobody can compute again, such as the date or the machine, may still be a lie
 * that this does not see.
 * @returns the first that can't be, with the field's name; undefined: nothing contradicts
 */
export function implausible(from: Provenance | PageProvenance, now: Date = new Date()): string | undefined {
  const { date, model_hash, model_sha256, threads, kernel_tier } = from;
  const time = Date.parse(date);
  const [cores, of] = "node" in from ? [from.platform.cores, "platform/cores"] : [from.cores, "cores"];
  const contradictions: readonly Contradiction[] = [
    // `Date.parse` takes the 31st of June.
    ["date", !(time >= 0) || new Date(time).toISOString().slice(0, 10) !== date.slice(0, 10), `is ${date}, which is not a date`],
    ["date", time < Date.parse(FIRST_DAY), `is ${date}, before the first version of this package (${FIRST_DAY})`],
    ["date", time > now.getTime() + CLOCKS_MS, `is ${date}, which is in the future`],
    ...("node" in from ? implausibleOnNode(from) : []),
    ["threads", threads !== null && threads > cores, `is ${threads}, but ${of} is ${cores}`],
    ["threads", (threads === null) !== (kernel_tier === null), "and kernel_tier must both be null, or neither"],
    ["model_hash", (model_sha256?.slice(0, 16) ?? null) !== model_hash, "is not the start of model_sha256"],
  ];
  const first = contradictions.find(([, isWrong]) => isWrong);
  return first && `provenance/${first[0]} ${first[2]}`;
}

function implausibleOnNode({ platform, node, wsl2, git_commit, git_dirty }: Provenance): Contradiction[] {
  const [major = 0, minor = 0] = node.slice(1).split(".").map(Number);
  return [
    ["node", major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1]), `is ${node}, older than Node 20.19`],
    ["platform/os", !SYSTEMS.includes(platform.os), `is ${JSON.stringify(platform.os)}, which is no system that Node runs on`],
    [
      "platform/arch",
      !ARCHITECTURES.includes(platform.arch),
      `is ${JSON.stringify(platform.arch)}, which is no processor that Node runs on`,
    ],
    ["wsl2", wsl2 && platform.os !== "linux", `is true, but platform/os is ${platform.os}`],
    ["git_dirty", git_commit === null && git_dirty !== null, `is ${git_dirty}, but git_commit is null`],
  ];
}
