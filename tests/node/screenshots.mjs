// Pictures for the documentation: the landing page, light and dark, and GraphiQL at work.
import { openGraphiQL, run } from './graphiql_page.mjs';

export default async function ({ args, browse }) {
  const shoot = (page, name) => page.screenshot({ path: `${args.folder}/${name}.png` });

  for (const colorScheme of ['light', 'dark']) {
    await browse(
      async (page) => {
        await page.goto(`${args.url}/`);
        await page.getByText(/Health: (ok|degraded)/).waitFor();
        if (colorScheme === 'dark') await page.locator('main').evaluate((main) => main.lastElementChild.scrollIntoView());
        await shoot(page, `landing-${colorScheme}`);
        await openGraphiQL(page, args.url);
        await run(page, 'Chat', 'SSE');
        await shoot(page, `graphiql-${colorScheme}`);
      },
      { colorScheme },
    );
  }
  await browse(async (page) => {
    await openGraphiQL(page, args.url);
    await run(page, 'Dashboard');
    await page.getByRole('button', { name: 'Show Documentation Explorer' }).click();
    await page.getByRole('link', { name: 'Query', exact: true }).first().click();
    await shoot(page, 'graphiql-docs');
  });
}
