/** What every record says of where it comes from, a process of Node or a web page. */
export interface Origin {
  readonly schema_version: 1;
  /** The first 16 digits of `model_sha256`. */
  readonly model_hash: string | null;
  readonly model_sha256: string | null;
  /** See `tokenizerSha256`. */
  readonly tokenizer_sha256: string | null;
  /** SHA-256 of the lines `sha256  name` of the kernels' modules: one value, whichever tier is chosen. */
  readonly kernel_sha256: string;
  /** `none`: the scalar reference. null: nothing was computed. */
  readonly kernel_tier: string | null;
  readonly threads: number | null;
  readonly seed: number | null;
  readonly numerics_version: number;
  readonly package_version: string;
  /** ISO 8601, UTC. */
  readonly date: string;
}

/** Where a receipt comes from that a web page made. Fields as in `schemas/page-provenance.v1.schema.json`. */
export interface PageProvenance extends Origin {
  /** What the browser says that it is. */
  readonly user_agent: string;
  /** Threads that it says it can run at once. */
  readonly cores: number;
}
