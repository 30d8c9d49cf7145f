// Replaces a part of the page by a newly fetched one without disturbing its user: open elements stay open, focus, typed
// text and selections stay, and the rows of a list keep their places.
import { Idiomorph } from "./vendor/idiomorph.js";

const callbacks = {
  beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS"),
  beforeNodeMorphed: (old) => !isChanged(old),
};

function isChanged(node) {
  if (node instanceof HTMLSelectElement) return [...node.options].some((one) => one.selected !== one.defaultSelected);
  if (node instanceof HTMLTextAreaElement) return node.value !== node.defaultValue;
  if (!(node instanceof HTMLInputElement)) return false;
  return node.value !== node.defaultValue || node.checked !== node.defaultChecked;
}

function morph(old, fresh) {
  if (old.matches(".here")) fresh.classList.add("here");
  Idiomorph.morph(old, fresh, { callbacks });
}

function keyOf(row) {
  return row.dataset.row || row.querySelector("th a[href]")?.getAttribute("href") || row.querySelector("th")?.textContent;
}

function rowsOf(part) {
  return new Map([...part.querySelectorAll("[data-row]")].map((row) => [keyOf(row), row]));
}

// Inserts a fetched part; returns the number of rows that wait to be shown, as text, "" for none.
export function merge(old, fresh) {
  if (!("list" in old.dataset) || !old.querySelector("[data-row]")) {
    morphPart(old, fresh);
    return "";
  }
  const shown = rowsOf(old);
  const now = rowsOf(fresh);
  const order = [...now.keys()];
  const lastKnown = order.findLastIndex((key) => shown.has(key));
  const goesOn = fresh.querySelector("a[rel=next]") !== null;
  const lastShared = [...shown.keys()].findLastIndex((key) => now.has(key));
  [...shown].forEach(([key, row], at) => {
    const same = now.get(key);
    // Where the list continues, rows after the last known one may only have been pushed off the page.
    row.classList.toggle("gone", !same && (at <= lastShared || !goesOn));
    if (same) {
      morph(row, same);
    }
  });
  old.dataset.version = fresh.dataset.version ?? "";
  if ("new" in fresh.dataset) return fresh.dataset.new === "0" ? "" : fresh.dataset.new;
  const waiting = order.filter((key, at) => !shown.has(key) && (at < lastKnown || !goesOn || lastKnown < 0)).length;
  const text = goesOn && waiting === order.length ? `${waiting}+` : `${waiting}`;
  return waiting ? text : "";
}

function morphPart(old, fresh) {
  const here = keyOf(old.querySelector(".here") ?? document.createElement("tr"));
  if (here) rowsOf(fresh).get(here)?.classList.add("here");
  Idiomorph.morph(old, fresh, { callbacks });
}

// Shows the current list: new rows in their places, without rows that are gone. Known rows stay the same elements, with
// their selections.
export function replace(old, fresh) {
  const shown = rowsOf(old);
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  for (const [key, row] of rowsOf(fresh)) {
    const same = shown.get(key);
    if (!same) {
      row.classList.add("fresh");
      continue;
    }
    const place = document.createComment("");
    row.replaceWith(place);
    same.classList.remove("gone", "fresh");
    morph(same, row);
    place.replaceWith(same);
  }
  old.replaceWith(fresh);
  if (focused?.isConnected) focused.focus({ preventScroll: true });
}
