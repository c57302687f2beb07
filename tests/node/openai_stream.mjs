// The openai Node SDK: one streamed answer, and what it raises in the middle of it.
import OpenAI from 'openai';
import { args, say } from './lib.mjs';

const client = new OpenAI({ baseURL: `${args.url}/v1`, apiKey: args.token, maxRetries: 0 });
let text = '';
let error = null;
try {
  for await (const chunk of await client.chat.completions.create({ ...args.body, stream: true })) {
    text += chunk.choices[0]?.delta.content ?? '';
  }
} catch (raised) {
  error = { code: raised.code, type: raised.type, param: raised.param };
}
say({ text, error });
