// Follows a change to many tasks while it is open: fetches its strip once a second, and replaces only the differences.
const PAUSE = 1000;

export function followBulkChange() {
  const strip = document.querySelector("[data-bulk]");
  if (strip) follow(strip);
}

function isOpen(strip) {
  return strip.dataset.status === "waiting" || strip.dataset.status === "running";
}

async function follow(strip) {
  const hidden = [...strip.querySelectorAll("form input[type=hidden]")].map((one) => [one.name, one.value]);
  const query = new URLSearchParams(hidden);
  while (isOpen(strip) && strip.isConnected) {
    await new Promise((resolve) => { setTimeout(resolve, PAUSE); });
    if (document.hidden) continue;
    try {
      const answer = await fetch(`${strip.dataset.bulk}?${query}`, { headers: { Accept: "text/html" }, redirect: "error" });
      if (!answer.ok) continue;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-bulk]");
      if (fresh) strip = renew(strip, fresh);
    } catch {
      // Not reachable: retried in a second; the change continues without this page.
    }
  }
}

function renew(strip, fresh) {
  if (fresh.dataset.status !== strip.dataset.status) {
    const focused = strip.contains(document.activeElement);
    const part = document.adoptNode(fresh);
    strip.replaceWith(part);
    if (focused) part.focus();
    return part;
  }
  strip.querySelector("[data-words]").textContent = fresh.querySelector("[data-words]").textContent;
  const bar = strip.querySelector("progress");
  const now = fresh.querySelector("progress");
  if (bar && now) bar.value = now.value;
  return strip;
}
