// Loads mermaid from this site when a page shows a diagram; without this the theme would ask a CDN for it. A diagram that
// would be too small to read keeps a width of its own, and is scrolled.
(() => {
  const SMALLEST = 0.6;
  const source = new URL("mermaid.js", document.currentScript.src);
  let settings;
  let loaded;
  const load = () =>
    (loaded ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = source.href;
      script.onload = () => {
        globalThis.mermaid.initialize(settings);
        resolve(globalThis.mermaid);
      };
      script.onerror = () => reject(new Error(`${source} cannot be loaded`));
      document.head.append(script);
    }));
  const letScroll = () => {
    for (const diagram of document.querySelectorAll("div.mermaid")) {
      diagram.tabIndex = 0;
      diagram.setAttribute("role", "group");
      diagram.setAttribute("aria-label", "Diagram");
      if (diagram.scrollHeight > diagram.scrollWidth / 2) { // it begins in the middle, not at the left
        diagram.scrollLeft = (diagram.scrollWidth - diagram.clientWidth) / 2;
      }
    }
  };
  globalThis.mermaid = {
    initialize: (given) => { settings = given; },
    render: async (...given) => {
      const drawn = await (await load()).render(...given);
      setTimeout(letScroll); // the theme puts it into the page first
      const svg = drawn.svg.replace(
        /max-width: ([\d.]+)px;/,
        (all, width) => `${all} min-width: ${Math.round(width * SMALLEST)}px;`,
      );
      return { ...drawn, svg };
    },
  };
})();
