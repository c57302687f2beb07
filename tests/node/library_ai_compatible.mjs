// The AI SDK with @ai-sdk/openai-compatible.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { serveAi } from './library_ai.mjs';

const provider = (ask) =>
  createOpenAICompatible({
    name: 'agentgraph',
    baseURL: ask.base,
    apiKey: ask.token,
    includeUsage: true,
    supportsStructuredOutputs: true,
    transformRequestBody: (body) => ({ ...body, ...ask.extra }),
  });
await serveAi('@ai-sdk/openai-compatible', {
  chat: (ask) => provider(ask)(ask.model),
  takesExtra: true,
  embedding: (ask) => provider(ask).embeddingModel(ask.model),
});
