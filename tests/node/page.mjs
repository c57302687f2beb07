// A page in a real browser, driven line by line: a command in JSON for each line, with its outcome in JSON.
// No name is resolved and no address but loopback is reached; what the page asked of others is told at the end.
export default async function ({ args, say, lines, newContext }) {
  const context = await newContext({ baseURL: args.url, viewport: { width: 1100, height: 760 } });
  const tab = await context.newPage();
  tab.setDefaultTimeout(20_000);
  const strangers = [];
  const faults = [];
  const asked = [];
  tab.on('request', (request) => {
    const { hostname, pathname } = new URL(request.url());
    if (pathname === '/graphql') asked.push(request.postDataJSON().operationName);
    if (hostname !== '127.0.0.1') strangers.push(request.url());
  });
  tab.on('pageerror', (error) => faults.push(String(error)));
  tab.on('console', (line) => /Content Security Policy|Warning:/.test(line.text()) && faults.push(line.text()));

  const found = ({ role, name, label, selector }) =>
    role ? tab.getByRole(role, { name, exact: true }) : label ? tab.getByLabel(label, { exact: true }) : tab.locator(selector);

  const verbs = {
    open: ({ path }) => tab.goto(path).then(() => null),
    reload: () => tab.reload({ waitUntil: 'commit' }).then(() => null),
    click: (where) => found(where).click().then(() => null),
    fill: ({ text, ...where }) => found(where).fill(text).then(() => null),
    press: ({ key, ...where }) => found(where).press(key).then(() => null),
    see: ({ text, gone, ...where }) =>
      (text === undefined ? found(where) : found(where).filter({ hasText: text })).first()
        .waitFor({ state: gone ? 'detached' : 'visible' }).then(() => null),
    read: ({ selector }) =>
      tab.locator(selector).evaluateAll((all) =>
        all.map((one) => ({ id: one.dataset.id ?? null, kind: one.className, html: one.innerHTML, text: one.textContent })),
      ),
    value: (where) => found(where).inputValue(),
    focused: () => tab.evaluate(() => document.activeElement?.id ?? ''),
    evaluate: ({ script }) => tab.evaluate(script),
    cut: () => tab.context().setOffline(true).then(() => null),
    mend: () => tab.context().setOffline(false).then(() => null),
    shot: ({ path }) => tab.screenshot({ path }).then(() => null),
    dark: () => tab.emulateMedia({ colorScheme: 'dark' }).then(() => null),
    asked: () => asked, // the operations, by name
    end: () => ({ strangers, faults }),
  };

  for await (const line of lines) {
    const { verb, ...rest } = JSON.parse(line);
    try {
      say({ ok: (await verbs[verb](rest)) ?? null });
    } catch (error) {
      say({ error: `${verb} ${JSON.stringify(rest)}: ${error}`, page: await tab.locator('body').innerText().catch(() => '') });
    }
    if (verb === 'end') break;
  }
}
