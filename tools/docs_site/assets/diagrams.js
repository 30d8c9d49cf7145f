// Loads mermaid from this site when a page shows a diagram; without this the theme would ask a CDN for it.
(() => {
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
  globalThis.mermaid = {
    initialize: (given) => { settings = given; },
    render: async (...given) => (await load()).render(...given),
  };
})();
