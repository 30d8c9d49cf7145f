// Live updates: the server reports which tables changed, and the parts of the page that show them are fetched again.
//
//   Live          the page is current, or will be within seconds
//   Paused        by the viewer, because text is selected, or because the page is in the background; it says which
//   Disconnected  the database, the server or the network does not answer; it says which
//
// The age of the data is shown beside the state, once it is noticeable.
import { merge, replace } from "./merge.js";
import { refreshTimes, since } from "./times.js";

const GAPS = [1000, 2000, 4000, 7000]; // milliseconds between successive fetches
const LONG_GAP = 60000;
const BUSY = 50; // rows that change per second: from this number on the last gap is used at once
const SHARE = 5; // a slow fetch is repeated only after this multiple of its duration
const SILENCE = 12000; // the server sends something every 5 seconds
const RETRY = 15000; // until a server that rejected the stream is tried again
const AIM = 300; // a pointer over a control may be about to press
const LONGEST_AIM = 3000;
const OLD = 2000;

export function follow(onRenewed) {
  const parts = () => [...document.querySelectorAll("[data-live][id]")];
  const pulse = document.getElementById("pulse");
  if (!parts().length || !pulse || !("EventSource" in window)) return;
  const view = showPulse(pulse, (mayResume) => (mayResume ? resume() : pause()));
  const pointer = followPointer();
  const waiting = new Map(); // by the id of a list: the button that shows the waiting rows
  const fetchedAt = new Map();
  let source = null;
  let heardAt = Date.now();
  let startedAt = 0; // when the stream was requested
  let up = true; // whether the database answers
  let refused = ""; // why the last fetch failed
  let rate = 0;
  let streak = 0;
  let stale = new Set();
  let current = Date.now(); // the time of the shown data
  let lookedAt = 0;
  let took = 0;
  let fetching = null; // aborts the fetch in progress
  let timer = null;
  let stopped = false; // by the viewer
  let leaving = false; // a form was sent: its change belongs to the next page, which replaces this one

  const selected = () => {
    const selection = getSelection();
    const node = selection && !selection.isCollapsed && selection.anchorNode;
    return node && (node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement)?.closest("[data-live]");
  };
  const paused = () => (stopped ? "by you" : document.hidden ? "in the background" : selected() ? "text is selected" : "");
  const unreachable = () => {
    if (!navigator.onLine) return "the browser is offline";
    if (Date.now() - heardAt > SILENCE || source?.readyState !== EventSource.OPEN) return "the server does not answer";
    return up ? "" : "the database does not answer";
  };
  const show = () => {
    const now = Date.now();
    const why = paused();
    const broken = document.hidden ? "" : unreachable() || refused;
    if (!why && !broken && !stale.size) current = Math.max(current, heardAt);
    if (source && heardAt < startedAt && now - startedAt < OLD && navigator.onLine && !why) return; // the state will be known soon
    const age = broken || why || stale.size ? now - current : 0;
    view(broken ? "lost" : why ? "paused" : "live", broken || why, age, stopped || (why && !document.hidden));
  };

  const gap = () => {
    const least = rate >= BUSY ? GAPS.at(-1) : GAPS[Math.min(streak, GAPS.length - 1)];
    return Math.min(Math.max(refused ? GAPS.at(-1) : least, took * SHARE), LONG_GAP);
  };
  const plan = () => {
    if (timer !== null || fetching || leaving || !stale.size || paused() || unreachable()) return;
    timer = setTimeout(look, Math.max(0, lookedAt + gap() - Date.now()));
  };
  const look = async () => {
    timer = null;
    if (leaving || paused() || unreachable()) return;
    const wanted = stale;
    const began = Date.now();
    streak = began - lookedAt < 2 * GAPS.at(-1) ? streak + 1 : 0;
    lookedAt = began;
    stale = new Set();
    const fresh = await ask([...wanted].map((id) => document.getElementById(id)).filter(Boolean), false);
    if (fresh) {
      await pointer.calm();
      for (const part of fresh) {
        const old = document.getElementById(part.id);
        if (!old) continue;
        if (selected() === old) wanted.delete(part.id) && stale.add(part.id);
        else offer(old, merge(old, part));
      }
      for (const id of wanted) fetchedAt.set(id, began);
      if (!stale.size) current = began;
    } else {
      for (const id of wanted) stale.add(id);
    }
    show();
    plan();
  };
  // The parts that differ from the shown ones, as elements prepared like those of the page; null when there is no answer.
  const ask = async (asked, whole) => {
    const address = new URL(location.href);
    if (!whole) {
      for (const part of asked) {
        for (const [name, value] of new URLSearchParams(part.dataset.anchor ?? "")) address.searchParams.set(name, value);
      }
    }
    const known = asked.map((part) => `${part.id}=${whole ? "" : part.dataset.version ?? ""}`).join(" ");
    const headers = { Accept: "text/html", "X-Live-Parts": known };
    const mine = new AbortController();
    fetching = mine;
    const began = Date.now();
    try {
      const answer = await fetch(address, { headers, redirect: "manual", signal: mine.signal });
      refused = answer.ok ? "" : answer.type === "opaqueredirect" ? "you are logged out" : `the server answers ${answer.status}`;
      if (!answer.ok) return null;
      const text = answer.status === 204 ? "" : await answer.text();
      const fresh = [...new DOMParser().parseFromString(text, "text/html").querySelectorAll("[data-live]")];
      for (const part of fresh) onRenewed(part);
      return fresh;
    } catch {
      if (!mine.signal.aborted) refused = "the server does not answer";
      return null;
    } finally {
      if (fetching === mine) fetching = null;
      took = Date.now() - began;
    }
  };

  // New rows of a list wait behind a button with a reserved place above the list, so that nothing moves when it appears.
  for (const part of parts()) {
    if (!("list" in part.dataset)) continue;
    const place = document.createElement("p");
    const button = document.createElement("button");
    place.className = "waiting-rows";
    button.type = "button";
    button.hidden = true;
    button.dataset.waiting = "";
    button.addEventListener("click", () => showAll(part.id));
    place.append(button);
    part.before(place);
    waiting.set(part.id, button);
  }
  const offer = (part, number) => {
    const button = waiting.get(part.id);
    if (!button) return;
    button.hidden = !number;
    button.textContent = `${number} new ${part.dataset.list}${number === "1" ? "" : "s"}`;
  };
  const showAll = async (id) => {
    const old = document.getElementById(id);
    fetching?.abort();
    const [fresh] = (await ask([old], true)) ?? [];
    if (!fresh) return show();
    offer(fresh, "");
    replace(old, fresh);
    fresh.querySelector("[data-row] a")?.focus({ preventScroll: true });
    fresh.dispatchEvent(new Event("renewed", { bubbles: true }));
    show();
  };

  const concerned = (part, changed) => {
    const shown = part.dataset.live.split(" ").filter(Boolean);
    return !shown.length || changed.includes("*") || shown.some((name) => changed.includes(name));
  };
  const hear = (event) => {
    const news = JSON.parse(event.data);
    heardAt = Date.now();
    up = news.up;
    rate = news.rate;
    if (news.changed.includes("*")) refused = "";
    for (const part of parts()) if (news.changed.length && concerned(part, news.changed)) stale.add(part.id);
    show();
    plan();
  };
  const start = () => {
    if (source || document.hidden) return;
    const address = new URL(`${document.body.dataset.root}/live`, location.href);
    const task = parts().map((part) => /\btask:(\d+)/.exec(part.dataset.live)?.[1]).find(Boolean);
    if (task) address.searchParams.set("task", task);
    source = new EventSource(address);
    startedAt = Date.now();
    source.addEventListener("news", hear);
    source.addEventListener("error", () => {
      show();
      if (source?.readyState !== EventSource.CLOSED) return; // the browser reconnects by itself
      source = null;
      setTimeout(start, RETRY);
    });
  };
  const stop = () => {
    source?.close();
    source = null;
    fetching?.abort();
    clearTimeout(timer);
    timer = null;
    show();
  };
  const again = () => {
    stop();
    start();
  };
  const pause = () => {
    stopped = true;
    clearTimeout(timer);
    timer = null;
    show();
  };
  const resume = () => {
    stopped = false;
    getSelection()?.removeAllRanges();
    show();
    plan();
  };

  setInterval(() => {
    if (document.hidden) return;
    if (source && Date.now() - Math.max(heardAt, startedAt) > SILENCE) again();
    for (const part of parts()) {
      const every = Number(part.dataset.every ?? 0) * 1000;
      if (every && Date.now() - (fetchedAt.get(part.id) ?? lookedAt) > every) stale.add(part.id);
    }
    if (!pointer.isDown()) refreshTimes();
    show();
    plan();
  }, 1000);
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  document.addEventListener("selectionchange", () => {
    show();
    plan();
  });
  addEventListener("offline", show);
  addEventListener("online", again);
  // After the listener that asks for confirmation, so that a "no" is known here.
  addEventListener("submit", (event) => {
    if (event.defaultPrevented) return;
    leaving = true;
    fetching?.abort();
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

// The state, its reason, the age of the data, and the button that pauses and resumes.
function showPulse(pulse, onPress) {
  const word = document.createElement("span");
  const age = document.createElement("span");
  const button = document.createElement("button");
  word.setAttribute("role", "status");
  age.className = "age";
  button.type = "button";
  button.className = "quiet";
  button.dataset.pause = "";
  let says = "";
  let meant = null; // a press may end the selection that paused the page, before it is a click
  button.addEventListener("pointerdown", () => { meant = says === "Resume"; });
  button.addEventListener("click", () => {
    onPress(meant ?? says === "Resume");
    meant = null;
  });
  pulse.replaceChildren(word, " ", age, " ", button);
  const put = (node, text) => {
    if (node.textContent !== text) node.textContent = text;
  };
  return (state, why, old, mayResume) => {
    const name = { live: "Live", paused: "Paused", lost: "Disconnected" }[state];
    pulse.hidden = false;
    pulse.dataset.state = state;
    put(word, why ? `${name}: ${why}` : name);
    put(age, old >= OLD ? `${since(old)} old` : "");
    says = mayResume ? "Resume" : "Pause";
    put(button, says);
  };
}

// Nothing moves while the viewer presses a control, or is about to.
function followPointer() {
  let down = false;
  let aimedAt = 0;
  const release = () => setTimeout(() => { down = false; }, 50); // the click follows it
  addEventListener("pointerdown", () => { down = true; }, true);
  addEventListener("pointerup", release, true);
  addEventListener("pointercancel", release, true);
  addEventListener("pointermove", (event) => {
    if (event.target instanceof Element && event.target.closest("[data-live] :is(a, button, summary, input, label)")) {
      aimedAt = Date.now();
    }
  }, { capture: true, passive: true });
  const calm = async () => {
    const asked = Date.now();
    while (down || (Date.now() - aimedAt < AIM && Date.now() - asked < LONGEST_AIM)) {
      await new Promise((done) => setTimeout(done, 50));
    }
  };
  return { isDown: () => down, calm };
}
