import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import { builtHashes, publishedFiles } from "../records/build.js";

// Written by hand: @cyclonedx/cyclonedx-library takes 240 kB of the bundle, which is 320 kB, and asks for an XML writer, for the object below.

/** A package in package-lock.json (version 3). */
interface LockedPackage {
  readonly version: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly license?: string;
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

function hash(alg: "SHA-256" | "SHA-512", data: Uint8Array): { readonly alg: string; readonly content: string } {
  return { alg, content: createHash(alg.replace("-", "").toLowerCase()).update(data).digest("hex") };
}

/**
 * The software bill of materials, CycloneDX 1.6: the package, its kernels and models, and the packages bundled into it, with versions, licences and the hashes
 * that package-lock.json has. It has no serial number and no clock, so that equal inputs give equal bytes.
 * @param time of the commit, seconds since 1970
 * @param npm the package as it is published
 * @throws BitnetError file: a bundled package is not in package-lock.json
 */
export function sbom(root: string, version: string, time: number, npm: Uint8Array): object {
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as { packages: Record<string, LockedPackage> };
  const { name, description, license } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Record<string, string>;
  const bundled = bundledPackages(readFileSync(join(root, "dist/bundle/LICENSES.txt"), "utf8"));
  const purl = (of: string, at: string): string => `pkg:npm/${of.replace(/^@/, "%40")}@${at}`;
  const own = purl(name!, version);
  const components = bundled.map(({ name: of, version: at }) => {
    const path = Object.keys(lock.packages).find((one) => one.endsWith(`node_modules/${of}`) && lock.packages[one]?.version === at);
    const locked = path === undefined ? undefined : lock.packages[path];
    if (!locked) throw new BitnetError("file", `package-lock.json has no ${of} ${at}, which is in the bundle: run npm run build again`);
    const [algorithm, digest] = locked.integrity?.split("-") ?? [];
    const [, group, rest] = of.match(/^(@[^/]+)\/(.+)$/) ?? [];
    return {
      type: "library",
      "bom-ref": purl(of, at),
      ...(group !== undefined && { group }),
      name: rest ?? of,
      version: at,
      ...(algorithm === "sha512" &&
        digest !== undefined && { hashes: [{ alg: "SHA-512", content: Buffer.from(digest, "base64").toString("hex") }] }),
      ...(locked.license !== undefined && { licenses: [{ license: { id: locked.license } }] }),
      purl: purl(of, at),
    };
  });
  const files = [
    ...Object.entries(builtHashes(root))
      .filter(([path]) => path.endsWith(".wasm"))
      .map(([path]) => ["file", path] as const),
    ...publishedFiles(root)
      .filter((path) => /\.(?:gguf|safetensors)$/.test(path))
      .map((path) => ["machine-learning-model", path] as const),
  ].map(([type, path]) => ({ type, "bom-ref": `${own}#${path}`, name: path, hashes: [hash("SHA-256", readFileSync(join(root, path)))] }));
  return {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      timestamp: new Date(time * 1000).toISOString(),
      component: {
        type: "library",
        "bom-ref": own,
        name,
        version,
        description,
        hashes: [hash("SHA-512", npm)],
        licenses: [{ license: { id: license } }],
        purl: own,
      },
    },
    components: [...components, ...files],
    dependencies: [
      { ref: own, dependsOn: components.map((component) => component["bom-ref"]) },
      ...components.map((component) => ({ ref: component["bom-ref"] })),
    ],
  };
}
