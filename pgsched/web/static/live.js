// Follows what happens: the server says that something changed, and the live parts of the page are fetched afresh.
// While the page is hidden, nothing is asked; while somebody is at work in a part, that part stays as it is.
const LEAST = 1000; // milliseconds from one look to the next
const RETRY = 15000; // milliseconds until a server that refused the stream is asked again

export function follow(onRenewed) {
  const parts = document.querySelectorAll("[data-live]");
  const pulse = document.getElementById("pulse");
  if (!parts.length || !pulse || !("EventSource" in window)) return;
  let source = null;
  let timer = null;
  let lookedAt = 0;
  let renewing = null; // how to give up the look that is on its way
  let again = false;
  let missed = document.hidden; // whether something may have changed that nobody told us of
  let leaving = false; // a form was sent: what it changes is for the next page, and may take this one away

  const say = (state, words) => {
    pulse.hidden = false;
    if (pulse.dataset.state === state) return;
    pulse.dataset.state = state;
    pulse.textContent = words;
  };
  const later = () => {
    if (leaving) return;
    if (renewing) again = true;
    else if (timer === null) timer = setTimeout(look, Math.max(0, lookedAt + LEAST - Date.now()));
  };
  const look = async () => {
    timer = null;
    renewing = new AbortController();
    lookedAt = Date.now();
    try {
      const headers = { Accept: "text/html" };
      const answer = await fetch(location.href, { headers, redirect: "error", signal: renewing.signal });
      if (answer.ok) renew(new DOMParser().parseFromString(await answer.text(), "text/html"), onRenewed);
    } catch {
      if (!leaving) say("lost", "not reached");
    }
    renewing = null;
    if (again) {
      again = false;
      if (!document.hidden) later();
    }
  };
  const start = () => {
    if (source || document.hidden) return;
    source = new EventSource(`${document.body.dataset.root}/live`);
    source.addEventListener("open", () => {
      say("live", "live");
      if (missed) later();
      missed = false;
    });
    source.addEventListener("change", later);
    source.addEventListener("error", () => {
      missed = true;
      say("lost", "not reached");
      if (source?.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      source = null;
      setTimeout(start, RETRY);
    });
  };
  const stop = () => {
    source?.close();
    source = null;
    missed = true;
    clearTimeout(timer);
    timer = null;
    say("paused", "paused");
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  // Behind the listener that asks first, so that a "no" has been said here.
  addEventListener("submit", (event) => {
    if (event.defaultPrevented) return;
    leaving = true;
    renewing?.abort();
    clearTimeout(timer);
    timer = null;
  });
  addEventListener("pagehide", stop);
  addEventListener("pageshow", () => {
    leaving = false;
    start();
  });
  start();
}

function renew(fresh, onRenewed) {
  for (const old of document.querySelectorAll("[data-live]")) {
    const part = fresh.getElementById(old.id);
    if (!part || isInUse(old)) continue;
    const opened = [...old.querySelectorAll("details")].map((one) => one.open);
    const place = [...old.querySelectorAll("[data-row]")].findIndex((row) => row.classList.contains("here"));
    const details = [...part.querySelectorAll("details")];
    // Those that were opened stay open while the part has the same shape.
    if (details.length === opened.length) details.forEach((one, at) => { one.open = opened[at]; });
    part.querySelectorAll("[data-row]")[place]?.classList.add("here");
    onRenewed(part);
    old.replaceWith(document.adoptNode(part));
  }
}

function isInUse(part) {
  const selection = getSelection();
  const marked = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
  const typed = [...part.querySelectorAll("input[type=text], textarea")].some((one) => one.value !== one.defaultValue);
  return marked || typed || part.contains(document.activeElement) || part.querySelector("[data-select]:checked") !== null;
}
