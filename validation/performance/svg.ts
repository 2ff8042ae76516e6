/** Colours of series, for light and for dark pages; written out, since not every reader of SVG knows CSS variables. */
const LIGHT = ["#0969da", "#bc4c00", "#1a7f37", "#8250df"];
const DARK = ["#4493f8", "#f0883e", "#3fb950", "#ab7df8"];

/** How many series have a colour of their own: classes `s0`, `s1`, … */
export const COLOURS = LIGHT.length;

/**
 * A picture of `width` × `height` px whose colours follow the reader's scheme. Classes: text `title`, `soft`; lines `grid`; a group `s0` … `s3` gives
 * lines, bars, dots and names in it the colour of a series.
 * @param title what a screen reader says
 */
export function svg(width: number, height: number, title: string, body: readonly string[]): string {
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escapeXml(title)}</title>`,
    "<style>",
    "text { font: 12px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600 } .soft { fill: #59636e } .grid { stroke: #d1d9e0 }",
    "polyline { fill: none; stroke-width: 2 }",
    colours(LIGHT),
    "@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .soft { fill: #9198a1 } .grid { stroke: #3d444d }",
    `${colours(DARK)} }`,
    "</style>",
    ...body,
    "</svg>",
  ].join("\n")}\n`;
}

function colours(list: readonly string[]): string {
  return list
    .map((colour, i) => `.s${i} polyline, .s${i} line { stroke: ${colour} } .s${i} circle, .s${i} rect, .s${i} .name { fill: ${colour} }`)
    .join("\n");
}

/** Round numbers from 0 to at or above `most`, about `count` steps: an axis that begins anywhere else makes small differences look large. */
export function ticksFromZero(most: number, count = 4): number[] {
  const least = Math.max(most, Number.MIN_VALUE) / count;
  const power = Number(`1e${least.toExponential().split("e")[1]}`);
  const digit = [1, 2, 2.5, 5, 10].find((one) => one * power >= least * 0.999)!;
  const step = digit * power;
  return Array.from({ length: Math.max(Math.ceil((most / step) * 0.999), 1) + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}

export function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
