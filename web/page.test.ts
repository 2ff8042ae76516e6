import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bitnetHere } from "../cli/here.test.helper.js";
import { CHROMIUM, Pages } from "../engine/web.test.helper.js";
import { type Receipt, receiptDigest } from "../validation/receipts/receipt.js";

// The page as it is put on a host of static files, in a folder, without headers: its service worker isolates it.

const PHONE = { width: 360, height: 640 };

// Without a browser there is nothing to see it with; CI installs one.
describe.runIf(CHROMIUM !== undefined)("the page, in Chromium", () => {
  const folder = mkdtempSync(join(tmpdir(), "bitnet-page-"));
  let pages: Pages;
  let browser: Browser;
  const errors: string[] = [];

  beforeAll(async () => {
    execFileSync(process.execPath, ["scripts/web.mjs", "--out", join(folder, "site")]);
    // Files under /endless/ have no length, so that nobody knows beforehand whether there is room for them.
    pages = await Pages.open({
      isolated: false,
      root: folder,
      answer: ({ url }, response) => {
        if (!url?.startsWith("/endless/")) return false;
        response.setHeader("access-control-allow-origin", "*");
        response.end(readFileSync(join(folder, "site/models/bitnet-stories-4m", url.slice("/endless/".length))));
        return true;
      },
    });
    browser = await chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox", "--disable-gpu", "--disable-quic"] });
  });
  afterAll(async () => {
    await browser?.close();
    pages?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** The page, when it is isolated. */
  async function open(options: Parameters<Browser["newPage"]>[0] = {}): Promise<Page> {
    const page = await browser.newPage(options);
    page.on("pageerror", (error) => errors.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error") errors.push(message.text());
    });
    await page.goto(`${pages.url}/site/index.html`);
    await page.waitForFunction(() => globalThis.crossOriginIsolated, undefined, { timeout: 60_000 });
    await page.waitForLoadState();
    return page;
  }

  const status = (page: Page) => page.locator("#status").textContent();
  const choose = async (page: Page): Promise<void> => {
    await page.getByRole("button", { name: "Small stories" }).click();
    await expect.poll(() => status(page), { timeout: 60_000 }).toMatch(/relaxed kernels/);
  };

  it("loads the embedded model, answers, and computes on all processors", async () => {
    const page = await open();
    await choose(page);
    const threads = Math.min(availableParallelism(), 16);
    expect(await status(page)).toContain(threads === 1 ? "1 thread," : `${threads} threads,`);
    await page.getByLabel("Message").fill("<b>Tell me</b> about a dog.");
    await page.keyboard.press("Enter");
    await expect.poll(() => status(page), { timeout: 60_000 }).toMatch(/^\d+ tokens, [\d.]+ tokens\/s/);
    expect(await page.locator("article.user p").textContent()).toBe("<b>Tell me</b> about a dog.");
    expect((await page.locator("article.assistant p").textContent())!.length).toBeGreaterThan(20);
    await page.getByRole("button", { name: "New chat" }).click();
    expect(await page.locator("article").count()).toBe(0);
    await page.getByRole("button", { name: "Change model" }).click();
    const name = "ggml-model-i2_s.gguf";
    await page.getByRole("button", { name: `Use: ${name}` }).click();
    await expect.poll(() => status(page), { timeout: 60_000 }).toMatch(/relaxed kernels/);
    await page.getByRole("button", { name: "Change model" }).click();
    await page.getByRole("button", { name: `Remove: ${name}` }).click();
    await expect.poll(() => page.locator("#stored").isVisible(), { timeout: 60_000 }).toBe(false);
    await page.close();
  });

  it("proves an answer: its receipt is replayed on the command line, and in another tab", async () => {
    const page = await open();
    await choose(page);
    await page.getByLabel("Message").fill("Once upon a time");
    await page.keyboard.press("Enter");
    await expect.poll(() => status(page), { timeout: 60_000 }).toMatch(/^\d+ tokens, /);
    const [saved] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Prove it" }).click()]);
    const path = join(folder, saved.suggestedFilename());
    await saved.saveAs(path);
    expect(await status(page)).toBe(
      `${saved.suggestedFilename()} is saved: “Verify a receipt” in another tab, or bitnet verify on a command line, replays it to the bit`,
    );
    const receipt = JSON.parse(readFileSync(path, "utf8")) as Receipt;
    expect(receipt.text).toBe(await page.locator("article.assistant p").textContent());
    for (const flags of [[], ["--tier", "plain", "--threads", "1"]]) {
      const { code, stdout, stderr } = await bitnetHere("verify", path, ...flags);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toMatch(
        new RegExp(`^match: ${receipt.steps.length} steps, written in a page \\(Mozilla/5\\.0 .*\\), relaxed kernels`),
      );
    }
    const other = await open();
    await other.locator("#receipts").setInputFiles(path);
    await expect
      .poll(() => status(other), { timeout: 60_000 })
      .toMatch(/^Match: \d+ steps, the same to the bit\. Written in a page, relaxed/);
    // Altered, and its digest made to fit again.
    const changed = { ...receipt, text: `${receipt.text}!` };
    writeFileSync(path, JSON.stringify({ ...changed, digest: receiptDigest(changed) }));
    await other.locator("#receipts").setInputFiles(path);
    await expect.poll(() => status(other), { timeout: 60_000 }).toBe("The receipt does not hold: text differs from the replay");
    const refused = await bitnetHere("verify", path);
    expect([refused.code, refused.stderr]).toEqual([12, expect.stringMatching(/: text differs from the replay/)]);
    await other.close();
    await page.close();
  });

  it("replays a receipt of the command line: of the embedded model, and of one that is opened then", async () => {
    const page = await open();
    const file = "models/bitnet-stories-4m/ggml-model-i2_s.gguf";
    const run = ["run", "--prompt", "The dog", "-n", "20", "--seed", "7", "--ctx", "256", "--kv", "q8", "--threads", "1"];
    for (const more of [[], ["--model", file]]) {
      const path = join(folder, "from-node.json");
      expect((await bitnetHere(...run, ...more, "--receipt", path)).code).toBe(0);
      await page.locator("#receipts").setInputFiles(path);
      if (more.length > 0) {
        await expect
          .poll(() => status(page), { timeout: 60_000 })
          .toBe("The receipt is of ggml-model-i2_s.gguf: open that model, and it is replayed.");
        await page.locator("#files").setInputFiles(file);
      }
      await expect.poll(() => status(page), { timeout: 60_000 }).toMatch(/^Match: 20 steps, the same to the bit\. Written on Node v\d/);
      await page.reload();
      await page.waitForLoadState();
    }
    for (const [text, said] of [
      ["{", "bad.json: this is not a receipt"],
      ["null", "bad.json: this is not a receipt"],
      ['{"kind":"receipt","steps":[]}', "bad.json: the receipt was altered: its digest does not match its other fields"],
      [`{"kind":"receipt","steps":[],"a":${"[".repeat(50_000)}${"]".repeat(50_000)}}`, "bad.json: this is not a receipt"],
    ] as const) {
      await page.locator("#receipts").setInputFiles({ name: "bad.json", mimeType: "application/json", buffer: Buffer.from(text) });
      await expect.poll(() => status(page), { timeout: 60_000 }).toBe(said);
    }
    await page.close();
  });

  it("says that there is no room, before a download and where that shows only then", async () => {
    const page = await open();
    const browserSession = await page.context().newCDPSession(page);
    for (const folderName of ["site/models/bitnet-stories-4m", "endless"]) {
      await browserSession.send("Storage.overrideQuotaForOrigin", { origin: pages.url, quotaSize: folderName === "endless" ? 1e6 : 2e6 });
      await page.getByLabel("From a URL").fill(`${pages.url}/${folderName}/ggml-model-i2_s.gguf`);
      await page.getByRole("button", { name: "Download" }).click();
      await expect
        .poll(() => status(page), { timeout: 60_000 })
        .toMatch(
          /ggml-model-i2_s\.gguf can't be stored: (?:it needs \d+ MiB more, .*|the storage that the browser gives this page is full; .*)$/,
        );
      expect(await page.locator("#status.error").count()).toBe(1);
    }
    await page.close();
  });

  it("opens files, and says what is wrong with one", async () => {
    const page = await open();
    await page.locator("#files").setInputFiles("README.md");
    await expect.poll(() => status(page), { timeout: 60_000 }).toMatch(/^README\.md/);
    expect(await page.locator("#status.error").count()).toBe(1);
    await page.locator("#files").setInputFiles("models/bitnet-stories-4m/ggml-model-i2_s.gguf");
    await expect.poll(() => status(page), { timeout: 60_000 }).toMatch(/^ggml-model-i2_s\.gguf: .*kernels/);
    await page.close();
  });

  it.each(["light", "dark"] as const)("fits a phone, in %s colours that can be read", async (colorScheme) => {
    const page = await open({ viewport: PHONE, colorScheme });
    await choose(page);
    await page.getByLabel("Message").fill("A".repeat(300));
    const { width, colours } = await page.evaluate(() => {
      const { color, backgroundColor } = getComputedStyle(document.body);
      return { width: document.documentElement.scrollWidth, colours: [color, backgroundColor] };
    });
    expect(width).toBe(PHONE.width);
    const [text, background] = colours.map((colour) => Math.max(...colour.match(/\d+/g)!.map(Number))) as [number, number];
    expect(colorScheme === "dark" ? text - background : background - text).toBeGreaterThan(150);
    await page.close();
  });

  it("reported no error", () => {
    expect(errors).toEqual([]);
  });
});
