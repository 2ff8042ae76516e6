import { createHash } from "node:crypto";
import type { AcceptanceSummary } from "../acceptance/acceptance.js";
import type { BuildRecord } from "../records/build.js";
import { modelsAndKernels, PACKAGE_NAME } from "./sbom.js";
import type { ArchiveFile, FileDigest } from "./tar.js";
import { digestsOf, type Files } from "./unpack.js";

// Forms: in-toto Statement v1 (https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md) with SLSA provenance v1
// (https://slsa.dev/spec/v1.0/provenance). Names and digests of the subjects are those that npm and GitHub look for: a purl with SHA-512 for the
// package, SHA-256 for files.

const REPOSITORY = "https://github.com/bitnet-ts/bitnet-ts";
/** Says what the parameters mean. */
const BUILD_TYPE = `${REPOSITORY}/blob/main/docs/release.md#the-statement`;
/** Whoever runs `bitnet release prepare`: the statement claims no level of SLSA. */
const BUILDER = `${REPOSITORY}/blob/main/docs/release.md#preparing`;

export const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";
export const PREDICATE_TYPE = "https://slsa.dev/provenance/v1";

export interface StatementFacts {
  readonly version: string;
  readonly npm: ArchiveFile;
  /** Other files of the release, in their order. */
  readonly files: readonly ArchiveFile[];
  /** Of the npm package. */
  readonly contents: Files;
  readonly build: BuildRecord;
  readonly summary: AcceptanceSummary;
  /** Full id of the commit. */
  readonly commit: string;
  /** SHA-256 of package-lock.json, with the version of the release. */
  readonly lockSha256: string;
  /** Files that go into the tree. */
  readonly tree: readonly FileDigest[];
}

interface Subject {
  readonly name: string;
  readonly digest: { readonly sha256: string; readonly sha512: string };
}

/** The parts of a statement that verifying reads. */
export interface Statement {
  readonly subject: readonly Subject[];
  readonly predicate: {
    readonly buildDefinition: {
      readonly resolvedDependencies: readonly { readonly digest: { readonly gitCommit?: string; readonly sha256?: string } }[];
    };
    readonly runDetails: { readonly byproducts: readonly { readonly name: string; readonly digest: { readonly sha256: string } }[] };
  };
}

/** Says which files a release has and from what they were made. Equal inputs give equal bytes: its only time is that of the results. */
export function statement(facts: StatementFacts): Uint8Array {
  const { version, npm, files, contents, build, summary, commit, lockSha256, tree } = facts;
  const { provenance: from } = summary;
  const hash = (algorithm: "sha256" | "sha512", data: Uint8Array): string => createHash(algorithm).update(data).digest("hex");
  const digest = (data: Uint8Array): Subject["digest"] => ({ sha256: hash("sha256", data), sha512: hash("sha512", data) });
  const subject: Subject[] = [
    { name: `pkg:npm/${PACKAGE_NAME}@${version}`, digest: digest(npm.data) },
    ...files.map(({ path, data }) => ({ name: path, digest: digest(data) })),
    ...modelsAndKernels(digestsOf(contents)).map(({ path }) => ({ name: path, digest: digest(contents.get(path)!) })),
  ];
  const record = {
    _type: STATEMENT_TYPE,
    subject,
    predicateType: PREDICATE_TYPE,
    predicate: {
      buildDefinition: {
        buildType: BUILD_TYPE,
        externalParameters: { version, source: REPOSITORY },
        internalParameters: {
          node: build.node,
          tools: build.tools,
          deterministic: from.deterministic,
          seed: from.seed,
        },
        resolvedDependencies: [
          { uri: `git+${REPOSITORY}@${commit}`, digest: { gitCommit: commit } },
          { name: "package-lock.json", digest: { sha256: lockSha256 } },
        ],
      },
      runDetails: {
        builder: { id: BUILDER },
        metadata: { invocationId: summary.seal, startedOn: from.date },
        byproducts: tree.map(({ path, sha256 }) => ({ name: path, digest: { sha256 } })),
      },
    },
  };
  return Buffer.from(`${JSON.stringify(record, undefined, 2)}\n`);
}
