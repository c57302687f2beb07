// A page that can reach nothing but the address under test, and tells of every other one it wanted.

// Runs `work(page, told)` in a fresh profile. `told` gathers what the page wanted from elsewhere, and its errors.
export async function browse({ args, newContext }, work, { colorScheme = 'light' } = {}) {
  const context = await newContext({ colorScheme, viewport: { width: 1280, height: 800 } });
  const told = { elsewhere: [], errors: [] };
  await context.route('**/*', (route) => {
    const url = new URL(route.request().url());
    if (url.origin === args.url || url.protocol === 'data:' || url.protocol === 'blob:') return route.continue();
    told.elsewhere.push(url.href);
    return route.abort();
  });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on('console', (said) => said.type() === 'error' && told.errors.push(said.text()));
  page.on('pageerror', (error) => told.errors.push(String(error)));
  await work(page, told);
}
