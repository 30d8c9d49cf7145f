// Graphs that pan and zoom: by buttons, keys (+ - 0), Ctrl and the wheel, and by dragging. Without scripts they scroll.
const STEP = 1.25;
const LEAST = 0.05;
const MOST = 4;
let kept = 1; // the scale, also for parts that are fetched later

export function helpWithGraphs(root) {
  for (const whole of root.querySelectorAll(".graph-whole")) help(whole);
}

// A fetched part replaces the shown one attribute by attribute.
export function keepGraphs(part) {
  for (const tools of part.querySelectorAll(".graph-tools")) tools.hidden = false;
  for (const picture of part.querySelectorAll(".graph-frame svg.graph")) resize(picture, kept);
}

function resize(picture, scale) {
  const { width, height } = picture.viewBox.baseVal;
  picture.setAttribute("width", width * scale);
  picture.setAttribute("height", height * scale);
}

function help(whole) {
  const frame = whole.querySelector(".graph-frame");
  const picture = frame?.querySelector("svg.graph");
  const tools = whole.querySelector(".graph-tools");
  if (!picture || !tools) return;
  const zoom = (next, x = frame.clientWidth / 2, y = frame.clientHeight / 2) => {
    const to = Math.min(Math.max(next, LEAST), MOST);
    const left = (frame.scrollLeft + x) / kept;
    const top = (frame.scrollTop + y) / kept;
    kept = to;
    resize(picture, kept);
    frame.scrollLeft = left * kept - x;
    frame.scrollTop = top * kept - y;
  };
  const box = picture.viewBox.baseVal;
  const acts = {
    in: () => zoom(kept * STEP),
    out: () => zoom(kept / STEP),
    full: () => zoom(1),
    fit: () => zoom(Math.min((frame.clientWidth - 16) / box.width, (frame.clientHeight - 16) / box.height, 1)),
  };

  tools.hidden = false;
  tools.addEventListener("click", (event) => acts[event.target.dataset.zoom]?.());
  frame.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { "+": acts.in, "=": acts.in, "-": acts.out, "0": acts.fit }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  frame.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = frame.getBoundingClientRect();
    zoom(event.deltaY < 0 ? kept * STEP : kept / STEP, event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  pan(frame);
}

// Only a mouse drags; touch scrolls natively.
let from = null; // where a drag started

function pan(frame) {
  frame.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button !== 0) return;
    from = { frame, x: event.clientX, y: event.clientY, left: frame.scrollLeft, top: frame.scrollTop, moved: false };
  });
  frame.addEventListener("dragstart", (event) => event.preventDefault());
}

addEventListener("pointermove", (event) => {
  if (!from) return;
  const [x, y] = [event.clientX - from.x, event.clientY - from.y];
  if (!from.moved && Math.hypot(x, y) < 5) return;
  from.moved = true;
  from.frame.classList.add("is-panned");
  from.frame.scrollLeft = from.left - x;
  from.frame.scrollTop = from.top - y;
});
addEventListener("pointerup", () => {
  if (from?.moved) {
    const { frame } = from;
    frame.classList.remove("is-panned");
    // A drag does not open the link under it.
    const ignore = (click) => click.preventDefault();
    frame.addEventListener("click", ignore, { once: true, capture: true });
    setTimeout(() => frame.removeEventListener("click", ignore, { capture: true }), 0);
  }
  from = null;
});
