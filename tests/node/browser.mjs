// A browser that can reach nothing but the address under test, and tells of every other one it wanted.
import { chromium } from 'playwright-core';
import { args } from './lib.mjs';

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'];

// Runs `work(page, told)` in a fresh profile. `told` gathers what the page wanted from elsewhere, and its errors.
export async function browse(work, { colorScheme = 'light', viewport = { width: 1280, height: 800 } } = {}) {
  const browser = await chromium.launch({
    executablePath: args.chromium,
    args: [...FLAGS, '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
  });
  try {
    const context = await browser.newContext({ colorScheme, viewport });
    const told = { elsewhere: [], errors: [] };
    await context.route('**/*', (route) => {
      const url = new URL(route.request().url());
      if (url.origin === args.url || url.protocol === 'data:' || url.protocol === 'blob:') return route.continue();
      told.elsewhere.push(url.href);
      return route.abort();
    });
    const page = await context.newPage();
    page.setDefaultTimeout(args.patience ?? 20000);
    page.on('console', (said) => said.type() === 'error' && told.errors.push(said.text()));
    page.on('pageerror', (error) => told.errors.push(String(error)));
    await work(page, told);
  } finally {
    await browser.close();
  }
}
