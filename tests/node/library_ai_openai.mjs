// The AI SDK with @ai-sdk/openai.
import { createOpenAI } from '@ai-sdk/openai';
import { serveAi } from './library_ai.mjs';

const provider = (ask) => createOpenAI({ baseURL: ask.base, apiKey: ask.token });
await serveAi('@ai-sdk/openai', {
  chat: (ask) => (ask.chats ? provider(ask).chat(ask.model) : provider(ask).responses(ask.model)),
  embedding: (ask) => provider(ask).embedding(ask.model),
});
