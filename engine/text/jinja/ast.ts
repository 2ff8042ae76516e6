import type { Value } from "./values.js";

/** A call's arguments. */
export interface Arguments {
  readonly args: readonly Expression[];
  readonly keywords: readonly (readonly [name: string, value: Expression])[];
  /** `*args` and `**keywords`. */
  readonly spread: Expression | undefined;
  readonly keywordSpread: Expression | undefined;
}

export type ArithmeticOperator = "+" | "-" | "*" | "/" | "//" | "%" | "**";
export type ComparisonOperator = "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not in";

export interface FilterCall extends Arguments {
  readonly kind: "filter";
  readonly name: string;
  /** Undefined in a filter block: it is what the block wrote. */
  readonly value: Expression | undefined;
}

export type Expression =
  | { readonly kind: "constant"; readonly value: Value }
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "list" | "tuple" | "concat"; readonly items: readonly Expression[] }
  | { readonly kind: "dict"; readonly members: readonly (readonly [key: Expression, value: Expression])[] }
  | { readonly kind: "attribute"; readonly value: Expression; readonly name: string }
  | { readonly kind: "item"; readonly value: Expression; readonly key: Expression }
  | {
      readonly kind: "slice";
      readonly value: Expression;
      readonly start: Expression | undefined;
      readonly stop: Expression | undefined;
      readonly step: Expression | undefined;
    }
  | (Arguments & { readonly kind: "call"; readonly callee: Expression })
  | FilterCall
  | (Arguments & { readonly kind: "is"; readonly name: string; readonly value: Expression })
  | { readonly kind: "not" | "minus" | "plus"; readonly value: Expression }
  | { readonly kind: "binary"; readonly operator: ArithmeticOperator; readonly left: Expression; readonly right: Expression }
  | { readonly kind: "and" | "or"; readonly left: Expression; readonly right: Expression }
  | { readonly kind: "compare"; readonly first: Expression; readonly rest: readonly (readonly [ComparisonOperator, Expression])[] }
  | { readonly kind: "choice"; readonly test: Expression; readonly yes: Expression; readonly no: Expression | undefined };

export type Target =
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "member"; readonly name: string; readonly member: string }
  | { readonly kind: "tuple"; readonly items: readonly Target[] };

/** What a macro, or the block of a call, is made of. */
export interface MacroBody {
  readonly params: readonly { readonly name: string; readonly preset: Expression | undefined }[];
  readonly body: readonly Statement[];
  /** Which of `caller`, `varargs` and `kwargs` its body uses. */
  readonly uses: ReadonlySet<string>;
}

export type Statement = { /** Its offset in the template. */ readonly at: number } & (
  | { readonly kind: "data"; readonly value: Value & object }
  | { readonly kind: "output"; readonly value: Expression }
  | {
      readonly kind: "if";
      readonly branches: readonly { readonly test: Expression; readonly body: readonly Statement[] }[];
      readonly otherwise: readonly Statement[];
    }
  | {
      readonly kind: "for";
      readonly target: Target;
      readonly over: Expression;
      readonly test: Expression | undefined;
      readonly isRecursive: boolean;
      readonly body: readonly Statement[];
      readonly otherwise: readonly Statement[];
    }
  | { readonly kind: "break" | "continue" }
  | { readonly kind: "set"; readonly target: Target; readonly value: Expression }
  | { readonly kind: "set block"; readonly target: Target; readonly filter: FilterCall | undefined; readonly body: readonly Statement[] }
  | { readonly kind: "filter block"; readonly filter: FilterCall; readonly body: readonly Statement[] }
  | {
      readonly kind: "with";
      readonly targets: readonly Target[];
      readonly values: readonly Expression[];
      readonly body: readonly Statement[];
    }
  | { readonly kind: "macro"; readonly name: string; readonly macro: MacroBody }
  | { readonly kind: "call block"; readonly call: Extract<Expression, { kind: "call" }>; readonly macro: MacroBody }
  | { readonly kind: "generation"; readonly body: readonly Statement[] }
);
