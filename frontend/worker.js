// What every worker of the app runs first: the page's own module, which the page has loaded and compiled. The first message
// names its script and holds the compiled module (or its address); main() then sees that it is in a worker and serves.
addEventListener(
  "message",
  async ({ data: [script, module] }) => {
    const { default: start } = await import(script);
    await start({ module_or_path: module });
  },
  { once: true },
);
