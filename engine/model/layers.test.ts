import { expect, it } from "vitest";
import { openCheckpoint } from "../container/checkpoint.js";
import { readConfig } from "./config.js";
import { I2S } from "./fixtures.test.helper.js";
import { allLinears, layerFloats, layerLinears, makeLayer, mapLayer } from "./layers.js";

it("a layer's parts are listed in one order, however it was made, without the norms that it doesn't have", async () => {
  const checkpoint = await openCheckpoint(I2S);
  const config = await readConfig(checkpoint);
  await checkpoint.close();
  const made = (changes: object) =>
    makeLayer(
      { ...config, ...changes },
      0,
      (role, rows, columns) => `${role} ${rows}×${columns}`,
      (role, size) => `${role} ${size.join("×")}`,
    );
  const layer = made({});
  expect(allLinears([layer, layer]).slice(7)).toEqual([
    ...["q 256×256", "k 128×256", "v 128×256", "o 256×256"],
    ...["gate 768×256", "up 768×256", "down 256×768"],
  ]);
  expect(layerFloats(layer).map(([, norm]) => norm)).toEqual(["attnNorm 256", "attnSubNorm 256", "ffnNorm 256", "ffnSubNorm 768"]);
  expect(layerFloats(made({ qkNorms: true, subNorms: false })).map(([role]) => role)).toEqual(["attnNorm", "qNorm", "kNorm", "ffnNorm"]);
  const mapped = mapLayer(
    layer,
    (linear) => linear.length,
    (norm) => norm.toUpperCase(),
  );
  expect(layerLinears(mapped)).toEqual(layerLinears(layer).map(([role, linear]) => [role, linear.length]));
  expect(mapped.mixer).toMatchObject({ kind: "attention", attnNorm: "ATTNNORM 256", qNorm: undefined });
});
