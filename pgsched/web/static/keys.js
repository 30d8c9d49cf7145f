// The keyboard: / searches, j and k move through the rows, n shows new ones, p pauses, ? lists the keys.
const PLACES = { o: "/", t: "/tasks", s: "/schedules", u: "/upcoming", w: "/workflows", q: "/queues", d: "/dead", e: "/executions", k: "/workers", y: "/handlers", h: "/doctor", a: "/audit" };

export function listenToKeys() {
  const help = document.getElementById("help");
  const button = document.getElementById("help-button");
  let going = false;
  if (button && help) {
    button.hidden = false;
    button.addEventListener("click", () => help.showModal());
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (help && help.open) return;
    if (going) {
      going = false;
      const place = PLACES[event.key];
      if (place) location.assign(document.body.dataset.root + place);
      return;
    }
    if (event.key === "g") {
      going = true;
      setTimeout(() => { going = false; }, 1500);
    } else if (event.key === "/") {
      event.preventDefault();
      document.querySelector("[data-search]")?.focus();
    } else if (event.key === "?" && help) {
      help.showModal();
    } else if (event.key === "j") {
      step(1);
    } else if (event.key === "k") {
      step(-1);
    } else if (event.key === "n") {
      document.querySelector("[data-waiting]:not([hidden])")?.click();
    } else if (event.key === "p") {
      document.querySelector("[data-pause]")?.click();
    } else if (event.key === "x") {
      const box = here()?.querySelector("[data-select]");
      if (box) box.click();
    } else if (event.key === "Enter" && event.target === document.body) {
      here()?.querySelector("a")?.click();
    }
  });
}

function here() {
  return document.querySelector("tr.here");
}

function step(by) {
  const rows = [...document.querySelectorAll("[data-row]")];
  if (!rows.length) return;
  const now = here();
  const at = now ? rows.indexOf(now) + by : by > 0 ? 0 : rows.length - 1;
  const row = rows[Math.min(Math.max(at, 0), rows.length - 1)];
  now?.classList.remove("here");
  row.classList.add("here");
  row.querySelector("a")?.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}
