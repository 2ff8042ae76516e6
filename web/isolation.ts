/** Where the host set no headers that let workers share memory, a service worker adds them; the page is then loaded once more. */
export async function isolate(): Promise<void> {
  if (globalThis.crossOriginIsolated || !("serviceWorker" in navigator)) return;
  const tried = "bitnet-ts isolation tried";
  if (sessionStorage.getItem(tried) !== null) return; // it didn't help: one thread it is
  sessionStorage.setItem(tried, "yes");
  try {
    await navigator.serviceWorker.register("isolate.js");
    await navigator.serviceWorker.ready;
    location.reload();
  } catch {
    // A browser without service workers here: one thread it is.
  }
}
