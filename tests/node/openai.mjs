// The openai Node SDK: models, a completion, a stream, and what it raises.
import OpenAI from 'openai';
import { args, say, status } from './lib.mjs';

const client = new OpenAI({ baseURL: `${args.url}/v1`, apiKey: args.token, maxRetries: 0 });
const models = (await client.models.list()).data.map((model) => model.id);
const whole = await client.chat.completions.create(args.body);
const { data: stream, response } = await client.chat.completions.create({ ...args.body, stream: true }).withResponse();
let text = '';
let during;
for await (const chunk of stream) {
  text += chunk.choices[0].delta.content ?? '';
  if (text && during === undefined) during = await status(response.headers.get('x-stream-id'));
}
const raised = async (options, body) => {
  try {
    await new OpenAI({ baseURL: `${args.url}/v1`, apiKey: args.token, maxRetries: 0, ...options }).chat.completions.create(body);
  } catch (error) {
    return { name: error.constructor.name, code: error.code };
  }
};
say({
  models,
  whole: whole.choices[0].message.content,
  text,
  during,
  badKey: await raised({ apiKey: 'sk-nonsense' }, args.body),
  badModel: await raised({}, { ...args.body, model: 'nope' }),
});
