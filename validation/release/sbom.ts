import { BitnetError } from "../../engine/errors.js";
import type { FileDigest } from "./tar.js";

// Written by hand: @cyclonedx/cyclonedx-library takes 240 kB of the bundle, which is 320 kB, and asks for an XML writer, for the object below.

/** The name that the package is published under. */
export const PACKAGE_NAME = "bitnet-ts";

/** A package in package-lock.json (version 3). */
interface LockedPackage {
  readonly version: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly license?: string;
}

/** A package of which parts are in the bundle. */
export interface Library {
  readonly name: string;
  readonly version: string;
  /** 128 hex; undefined: package-lock.json has none. */
  readonly sha512: string | undefined;
  readonly license: string | undefined;
}

/** What a bill of materials says. */
export interface SbomFacts {
  readonly version: string;
  /** Of the commit, seconds since 1970. */
  readonly time: number;
  /** From package.json. */
  readonly description: string;
  readonly license: string;
  /** Of the npm package, 128 hex. */
  readonly sha512: string;
  /** Files of the npm package. */
  readonly files: readonly FileDigest[];
  readonly libraries: readonly Library[];
}

/** What the bundle's file of licences says is in it: a name and a version at the head of each licence. */
export function bundledPackages(licenses: string): { readonly name: string; readonly version: string }[] {
  const [, ...first] = licenses.split("\n\n");
  return first
    .join("\n\n")
    .split("\n----\n\n")
    .map((part) => {
      const [, name, version] = part.match(/^(\S+) (\d+\.\d+\.\d+\S*)\n/) ?? [];
      if (name === undefined || version === undefined)
        throw new BitnetError("file", "dist/bundle/LICENSES.txt does not have the form that the build writes");
      return { name, version };
    });
}

/** The bundled packages with the hashes and licences of package-lock.json. @throws BitnetError file: it does not have one of them */
export function lockedLibraries(licenses: string, packageLock: string): Library[] {
  const lock = JSON.parse(packageLock) as { packages: Record<string, LockedPackage> };
  return bundledPackages(licenses).map(({ name, version }) => {
    const path = Object.keys(lock.packages).find((one) => one.endsWith(`node_modules/${name}`) && lock.packages[one]?.version === version);
    const locked = path === undefined ? undefined : lock.packages[path];
    if (!locked)
      throw new BitnetError("file", `package-lock.json has no ${name} ${version}, which is in the bundle: run npm run build again`);
    const [algorithm, digest] = locked.integrity?.split("-") ?? [];
    const sha512 = algorithm === "sha512" && digest !== undefined ? Buffer.from(digest, "base64").toString("hex") : undefined;
    return { name, version, sha512, license: locked.license };
  });
}

/** Kernels and models of the npm package: those of its files that have a place in the bill of materials and in the statement. */
export function modelsAndKernels(files: readonly FileDigest[]): FileDigest[] {
  return [...files.filter(({ path }) => path.endsWith(".wasm")), ...files.filter(({ path }) => isModel(path))];
}

const isModel = (path: string): boolean => /\.(?:gguf|safetensors)$/.test(path);

/**
 * The software bill of materials, CycloneDX 1.6: the package, its kernels and models, and the packages bundled into it, with versions, licences and the
 * hashes that package-lock.json has. It has no serial number and no clock, so that equal inputs give equal bytes.
 */
export function sbom({ version, time, description, license, sha512, files, libraries }: SbomFacts): Uint8Array {
  const purl = (of: string, at: string): string => `pkg:npm/${of.replace(/^@/, "%40")}@${at}`;
  const own = purl(PACKAGE_NAME, version);
  const components = libraries.map(({ name: of, version: at, ...locked }) => {
    const [, group, rest] = of.match(/^(@[^/]+)\/(.+)$/) ?? [];
    return {
      type: "library",
      "bom-ref": purl(of, at),
      ...(group !== undefined && { group }),
      name: rest ?? of,
      version: at,
      ...(locked.sha512 !== undefined && { hashes: [{ alg: "SHA-512", content: locked.sha512 }] }),
      ...(locked.license !== undefined && { licenses: [{ license: { id: locked.license } }] }),
      purl: purl(of, at),
    };
  });
  const shipped = modelsAndKernels(files).map(({ path, sha256 }) => ({
    type: isModel(path) ? "machine-learning-model" : "file",
    "bom-ref": `${own}#${path}`,
    name: path,
    hashes: [{ alg: "SHA-256", content: sha256 }],
  }));
  const bom = {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      timestamp: new Date(time * 1000).toISOString(),
      component: {
        type: "library",
        "bom-ref": own,
        name: PACKAGE_NAME,
        version,
        description,
        hashes: [{ alg: "SHA-512", content: sha512 }],
        licenses: [{ license: { id: license } }],
        purl: own,
      },
    },
    components: [...components, ...shipped],
    dependencies: [
      { ref: own, dependsOn: components.map((component) => component["bom-ref"]) },
      ...components.map((component) => ({ ref: component["bom-ref"] })),
    ],
  };
  return Buffer.from(`${JSON.stringify(bom, undefined, 2)}\n`);
}

/** What a bill of materials says that can't be computed from the release's other files. @throws BitnetError file: it has another form */
export function sbomClaims(data: Uint8Array, where: string): Pick<SbomFacts, "description" | "license" | "libraries"> {
  interface Component {
    readonly type: string;
    readonly group?: string;
    readonly name: string;
    readonly version: string;
    readonly description: string;
    readonly hashes?: readonly [{ readonly content: string }];
    readonly licenses?: readonly [{ readonly license: { readonly id: string } }];
  }
  try {
    const bom = JSON.parse(new TextDecoder().decode(data)) as {
      readonly metadata: { readonly component: Component };
      readonly components: readonly Component[];
    };
    const licenseOf = ({ licenses }: Component): string | undefined => licenses?.[0].license.id;
    const libraries = bom.components
      .filter(({ type }) => type === "library")
      .map((one) => ({
        name: one.group === undefined ? one.name : `${one.group}/${one.name}`,
        version: one.version,
        sha512: one.hashes?.[0].content,
        license: licenseOf(one),
      }));
    return { description: bom.metadata.component.description, license: licenseOf(bom.metadata.component) ?? "", libraries };
  } catch (error) {
    throw new BitnetError("file", `${where} is not a bill of materials as bitnet writes it: ${(error as Error).message}`, { file: where });
  }
}
