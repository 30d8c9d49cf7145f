// Fields for a time: they name their zone. Those that the server takes as UTC are edited in the viewer's zone, and sent as
// the exact time. Those of a schedule (data-zone) are in local time of its zone, which the server parses.
import { zone } from "./times.js";

const HALF_HOUR = 1800000;

export function helpWithTimeFields() {
  for (const field of document.querySelectorAll("input[data-time-field]")) {
    if ("zone" in field.dataset) followZone(field);
    else if (zone !== "UTC") showInZone(field);
  }
}

function followZone(field) {
  const chosen = field.form?.elements.namedItem("timezone");
  if (!chosen) return;
  const say = () => nameZone(field, chosen.value.trim() || "UTC");
  chosen.addEventListener("input", say);
  say();
}

function showInZone(field) {
  const sent = document.createElement("input");
  sent.type = "hidden";
  sent.name = field.name;
  sent.value = field.dataset.exact;
  field.removeAttribute("name");
  field.after(sent);
  if (field.value) field.value = wallOf(new Date(`${field.value}Z`));
  nameZone(field, zone);
  field.addEventListener("input", () => {
    const at = new Date(field.value); // in a gap the time that is as far after it, in a fold the first of the two
    const empty = Number.isNaN(at.getTime());
    const skipped = !empty && minuteOf(wallOf(at)) !== minuteOf(field.value);
    const twice = !empty && [1, 2, 4].some((n) => minuteOf(wallOf(new Date(at.getTime() + n * HALF_HOUR))) === minuteOf(field.value));
    sent.value = empty ? "" : at.toISOString();
    field.setCustomValidity(skipped ? `This time does not exist in ${zone}: the clocks skip it.` : "");
    const note = skipped ? ", where the clocks skip this time" : twice ? `, where this time occurs twice: the first is used, ${at.toISOString().slice(11, 16)} UTC` : "";
    nameZone(field, zone + note);
  });
}

function nameZone(field, words) {
  const place = document.getElementById(`z-${field.id}`);
  if (place) place.textContent = words;
}

function minuteOf(wall) {
  return wall.slice(0, 16);
}

// The local time in the viewer's zone, in the notation of the field.
function wallOf(at) {
  const two = (number) => String(number).padStart(2, "0");
  const day = `${String(at.getFullYear()).padStart(4, "0")}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day}T${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}
