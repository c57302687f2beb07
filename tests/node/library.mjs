// Runs the cases of a client library: reads a case per line, and writes its result as a line (tests/libraries/serving.py).
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

export const RESULT = '4';
export const TEXTS = ['Where is my parcel?', 'My parcel is late.'];
export const SIDES = {
  type: 'object',
  properties: { sides: { type: 'integer' } },
  required: ['sides'],
  additionalProperties: false,
};
export const TOWN = {
  type: 'object',
  properties: { city: { type: 'string' }, people: { type: 'integer' } },
  required: ['city', 'people'],
  additionalProperties: false,
};

const described = (error) => ({
  type: error.constructor.name === 'Error' ? error.name : error.constructor.name,
  status: error.status ?? error.statusCode ?? error.lastError?.statusCode ?? null,
  code: error.code ?? error.data?.error?.code ?? null,
  shown: [error.message, JSON.stringify(error.data), error.responseBody, error.lastError?.responseBody].join(' '),
});

const version = (name) => {
  const { version } = JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url)));
  return [name, version];
};

/** Runs cases until standard input ends. A case gets what is asked, and an array for the texts that it receives. */
export const serve = async (packages, cases) => {
  const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
  say({ versions: Object.fromEntries(packages.map(version)), cases: Object.keys(cases) });
  for await (const line of createInterface({ input: process.stdin })) {
    const { case: name, ...asked } = JSON.parse(line);
    const texts = [];
    let result;
    try {
      result = await cases[name]({ ...asked, base: `${asked.url}/v1`, chats: asked.endpoint === 'chat' }, texts);
    } catch (error) {
      result = { raised: described(error) };
    }
    say({ text: texts.join(''), deltas: texts.length, ...result });
  }
};
