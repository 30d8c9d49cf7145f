// The search of tasks: suggestions for the current term, a page that continues until it is full or all tasks were
// searched, and a hint about a filter that was changed but not applied. Without scripts there are links.
export function helpWithSearch(showTimes) {
  for (const field of document.querySelectorAll("input[data-terms]")) suggest(field);
  goOn(showTimes);
  noteUnapplied();
}

let known = null; // the terms that a search may start with, requested once

function suggest(field) {
  let list = field.list;
  if (!list) {
    list = document.createElement("datalist");
    list.id = `${field.id}-terms`;
    field.after(list);
    field.setAttribute("list", list.id);
  }
  const offer = async () => {
    known ??= fetch(field.dataset.terms, { redirect: "error" }).then((answer) => (answer.ok ? answer.json() : []), () => []);
    const terms = await known;
    const typed = field.value;
    const last = /(?:[^\s"]|"(?:[^"\\]|\\.)*"?)*$/.exec(typed)[0];
    const before = typed.slice(0, typed.length - last.length);
    const fitting = terms.filter((term) => term.toLowerCase().includes(last.toLowerCase())).slice(0, 30);
    list.replaceChildren(...fitting.map((term) => Object.assign(document.createElement("option"), { value: before + term })));
  };
  field.addEventListener("focus", offer);
  field.addEventListener("input", offer);
}

async function goOn(showTimes) {
  const place = document.querySelector("[data-search-on]");
  const part = document.getElementById("live-tasks");
  if (!place || !part) return;
  const stop = place.querySelector("[data-stop-search]");
  const says = place.querySelector("[data-search-says]");
  const wanted = Number(place.dataset.wanted);
  let next = place.dataset.searchOn;
  let stopped = false;
  stop.hidden = false;
  place.querySelector(".paging").hidden = true;
  stop.addEventListener("click", () => { stopped = true; });
  const rows = () => part.querySelectorAll("tbody tr").length;
  while (next && !stopped && rows() < wanted) {
    let fresh;
    try {
      const answer = await fetch(next, { headers: { Accept: "text/html" }, redirect: "error" });
      if (!answer.ok) break;
      fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    } catch {
      says.textContent = "The server could not be reached.";
      break;
    }
    showTimes(fresh);
    take(part, fresh, place);
    const from = fresh.querySelector("[data-search-on]");
    const older = fresh.querySelector(".paging a[rel=next]");
    next = from ? from.dataset.searchOn : older ? older.getAttribute("href") : null;
    const searched = fresh.querySelector("[data-searched-to]");
    if (searched) place.querySelector("[data-searched-to]").replaceWith(document.adoptNode(searched));
  }
  stop.hidden = true;
  const paging = place.querySelector(".paging");
  paging.hidden = !next;
  if (next) paging.querySelector("a").href = next;
  else place.querySelector("[data-searched-to]").textContent = "All tasks were searched.";
  const none = part.querySelector(":scope > .empty");
  if (none && !next) none.querySelector("p").textContent = "No matching tasks";
  says.textContent = `${rows()} tasks found. ${place.querySelector("[data-searched-to]").textContent}`;
}

function take(part, fresh, place) {
  const found = [...fresh.querySelectorAll("#live-tasks tbody tr")];
  if (!found.length) return;
  const body = part.querySelector("tbody");
  if (!body) {
    part.querySelector(":scope > .empty")?.remove();
    place.before(document.adoptNode(fresh.querySelector("#live-tasks .scroll")));
    return;
  }
  body.append(...found.map((row) => document.adoptNode(row)));
}

function noteUnapplied() {
  const form = document.getElementById("filter");
  const note = document.querySelector("[data-unapplied]");
  const chosen = document.querySelector("[data-selected]");
  if (!form || !note) return;
  const fields = () => [...form.elements].filter((one) => one.matches("[name]:not([type=hidden], button)"));
  const values = () => fields().map((one) => one.value).join("\n");
  const applied = values();
  form.addEventListener("input", () => { note.hidden = values() === applied; });
  // Only the buttons of the bar send the selection; the URL of a filter stays short.
  form.addEventListener("submit", (event) => {
    const bulk = event.submitter?.hasAttribute("formaction");
    if (bulk) return;
    for (const one of [chosen, document.querySelector("[data-applied]")]) if (one) one.disabled = true;
    for (const one of fields()) if (!one.value) one.disabled = true;
  });
  addEventListener("pageshow", () => {
    for (const one of [...fields(), document.querySelector("[data-applied]")]) if (one) one.disabled = false;
  });
}
