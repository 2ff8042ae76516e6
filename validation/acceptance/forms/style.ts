/** Colours of the report, for light and for dark pages: each of text on each background has a contrast of at least 4.5. */
export const PALETTES = {
  light: {
    ...{ page: "#ffffff", panel: "#f6f8fa", line: "#d1d9e0" },
    ...{ text: "#1f2328", soft: "#59636e", pass: "#116329", fail: "#c21d2a", skip: "#7d4e00", data: "#0550ae", gate: "#953800" },
  },
  dark: {
    ...{ page: "#0d1117", panel: "#161b22", line: "#3d444d" },
    ...{ text: "#e6edf3", soft: "#9da7b3", pass: "#3fb950", fail: "#ff7b72", skip: "#d29922", data: "#79b8ff", gate: "#f0883e" },
  },
} as const;

const variables = (palette: Readonly<Record<string, string>>): string =>
  Object.entries(palette)
    .map(([name, colour]) => `--${name}: ${colour};`)
    .join(" ");

/** The report's style sheet. It has no `<` and no `&`, so it is the same to an HTML and to an XML reader. */
export const STYLE = `
:root { color-scheme: light dark; ${variables(PALETTES.light)} }
@media (prefers-color-scheme: dark) { :root { ${variables(PALETTES.dark)} } }
@media print { :root { color-scheme: light; ${variables(PALETTES.light)} } }
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100% }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem; background: var(--page); color: var(--text); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere }
h1 { margin: 0; font-size: 1.5rem }
h2 { margin: 2.5rem 0 0.75rem; padding-bottom: 0.3rem; border-bottom: 1px solid var(--line); font-size: 1.25rem }
h3 { margin: 2rem 0 0.25rem; font-size: 1.0625rem }
p { margin: 0.25rem 0 }
a { color: var(--data) }
.soft { color: var(--soft) }
.verdict { margin: 0.75rem 0; padding: 0.75rem 1rem; border: 1px solid var(--line); border-left: 0.4rem solid; border-radius: 0.4rem; background: var(--panel); font-size: 1.125rem; font-weight: 600 }
.pass { color: var(--pass) } .fail { color: var(--fail) } .skip { color: var(--skip) }
.verdict.pass, .verdict.fail { border-left-color: currentColor }
.word { font-weight: 700; font-size: 0.875rem; white-space: nowrap }
.mono, code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 0.8125rem }
pre { margin: 0.5rem 0; padding: 0.75rem; background: var(--panel); border-radius: 0.4rem; white-space: pre-wrap }
table { width: 100%; border-collapse: collapse; font-size: 0.9375rem }
th, td { padding: 0.45rem 0.6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
thead th { color: var(--soft); font-size: 0.8125rem; font-weight: 600 }
tbody th { font-weight: 400 }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.checks td:first-child, .checks thead th:first-child { width: 4rem }
.checks td:last-child, .checks thead th:last-child { width: 4.5rem }
.id { font-weight: 600 }
.figures { display: flex; flex-wrap: wrap; gap: 0 1.25rem; margin: 0.15rem 0 0; padding: 0; list-style: none; color: var(--soft); font-size: 0.8125rem }
.figures b { color: var(--text); font-weight: 600 }
.reason { margin: 0.15rem 0 0; font-size: 0.9375rem }
.places { margin: 0.25rem 0 0; padding-left: 1.25rem; font-size: 0.875rem }
.wide { overflow-x: auto; overflow-wrap: normal }
.wide:focus-visible { outline: 2px solid var(--data); outline-offset: 2px }
.wide table { font-size: 0.875rem } .wide td, .wide th { padding: 0.25rem 0.45rem }
.wide tbody th { min-width: 7rem; overflow-wrap: anywhere } .wide th[scope=colgroup] { padding-top: 0.75rem; font-weight: 600 }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem; margin: 0.75rem 0 }
svg { display: block; width: 100%; height: auto; max-width: 30rem; background: var(--panel); border-radius: 0.4rem }
svg text { fill: var(--text); font: 11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
svg .head { font-weight: 600; font-size: 12px }
svg .tick { fill: var(--soft) }
svg .grid { stroke: var(--line) }
svg .gate { stroke: var(--gate); stroke-width: 1.5; stroke-dasharray: 4 3 }
svg .gate-name { fill: var(--gate) }
svg .span { stroke: var(--data); stroke-width: 2; stroke-opacity: 0.55 }
svg .dot { fill: var(--data) }
svg .bar { stroke: var(--data); stroke-width: 2 }
svg .bad .span, svg .bad .bar { stroke: var(--fail) }
svg .bad text { fill: var(--fail); font-weight: 700 }
svg .cross { stroke: var(--fail); stroke-width: 2.5; fill: none }
details { margin: 0.75rem 0 }
summary { cursor: pointer; font-weight: 600; padding: 0.25rem 0 }
.matrix { width: auto } .matrix td { min-width: 8rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.3rem 1rem; margin: 0.5rem 0 }
dt { color: var(--soft) } dd { margin: 0; min-width: 0 }
@media (max-width: 40rem) {
  body { padding: 1rem 0.75rem 3rem }
  th, td { padding: 0.4rem 0.35rem }
  dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: 0.5rem }
  .matrix td { min-width: 5.5rem }
  .checks .number { display: none }
  .places { padding-left: 1rem }
  .wide td, .wide th { padding-inline: 0.3rem } .wide table { font-size: 0.8125rem }
}
@media print {
  body { max-width: none; padding: 0; font-size: 0.8125rem }
  tr, svg, .verdict { break-inside: avoid }
  h2, h3 { break-after: avoid }
  details::details-content { content-visibility: visible; block-size: auto }
  .wide { overflow: visible }
}
`;
