// The front page: what it says of health, what its buttons copy, and where the Tab key goes first.
export default ({ args, say, browse }) =>
  browse(async (page, told) => {
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write'], { origin: args.url });
    await page.goto(`${args.url}/`);
    await page.getByText(/Health: (ok|degraded)/).waitFor();
    const health = await page.$$eval('[data-service]', (rows) =>
      Object.fromEntries(rows.map((row) => [row.dataset.service, row.querySelector('.health').textContent])),
    );
    const reached = [];
    for (let at = 0; at < 2; at += 1) {
      await page.keyboard.press('Tab');
      reached.push(await page.evaluate(() => document.activeElement.textContent));
    }
    const shown = {};
    const copied = {};
    for (const name of ['token', 'query', 'subscription', 'openai']) {
      shown[name] = await page.locator(`#${name}`).textContent();
      const button = page.locator(`[data-copy=${name}]`);
      await button.click();
      await button.getByText('Copied').waitFor();
      copied[name] = await page.evaluate(() => navigator.clipboard.readText());
    }
    say({ health, overall: await page.locator('#overall').textContent(), reached, shown, copied });
    say(told);
  });
