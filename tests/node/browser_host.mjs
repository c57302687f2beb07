// One Chromium for all browser tests of a process. A connection runs one script of this folder: its first line names the
// script and its arguments, the next lines are the script's input, and the answer is the script's output in JSON lines.
// The last line says whether the script failed. The end of the connection closes what the script has opened.
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';
import { browse } from './browser.mjs';

const host = JSON.parse(process.argv[2]);
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'];

const launch = () =>
  chromium.launch({
    executablePath: host.chromium,
    args: [...FLAGS, '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
  });
const launched = launch();

async function serve(socket) {
  const contexts = [];
  const close = () => Promise.all(contexts.splice(0).map((context) => context.close()));
  const say = (value) => socket.write(`${JSON.stringify(value)}\n`);
  const reader = createInterface({ input: socket }).on('error', () => {}); // a reset must not end the other scripts
  const lines = reader[Symbol.asyncIterator]();
  const newContext = async (options) => {
    const context = await (await launched).newContext(options); // a profile of its own
    contexts.push(context);
    return context;
  };
  socket.on('error', () => {}).on('close', close);
  let failed = null;
  try {
    const { script, args } = JSON.parse((await lines.next()).value);
    const { default: run } = await import(`./${script}`);
    await run({ args, say, lines, newContext, browse: (...work) => browse({ args, newContext }, ...work) });
  } catch (error) {
    failed = String(error.stack);
  }
  await close();
  say({ failed });
  socket.end();
}

createServer(serve).listen({ fd: host.fd });
process.stdin.resume().on('end', async () => {
  await (await launched).close();
  process.exit();
});
