import type { Meter } from "./meter.js";
import type { Keywords, Value } from "./values.js";

/** `value | name(args)` */
export type ApplyFilter = (name: string, value: Value, args: readonly Value[], keywords: Keywords, meter: Meter) => Value;

/** A filter whose arguments are named, or one that takes them as they come. */
export type Filter =
  | { readonly params: string; readonly run: (value: Value, given: readonly (Value | undefined)[], meter: Meter) => Value }
  | {
      readonly params?: undefined;
      readonly run: (value: Value, args: readonly Value[], keywords: Keywords, meter: Meter, apply: ApplyFilter) => Value;
    };

export type Filters = Readonly<Record<string, Filter>>;
