// The REST door's description.
import { browse } from './browser.mjs';
import { args, say } from './lib.mjs';

await browse(async (page, told) => {
  await page.goto(`${args.url}/docs`);
  await page.getByText('/v1/chat/completions').first().waitFor();
  say(told);
});
