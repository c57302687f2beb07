// urql with Graphcache: pages that are shown as one list, and updates that put a message in its place.
import { Client, fetchExchange } from '@urql/core';
import { cacheExchange } from '@urql/exchange-graphcache';
import { relayPagination } from '@urql/exchange-graphcache/extras';
import { buildSchema, introspectionFromSchema } from 'graphql';
import { readFile } from 'node:fs/promises';
import { args } from '../lib.mjs';
import { CONVERSATIONS, FOLLOW, MESSAGES, RESPOND, SAY, SEND, START } from './documents.mjs';
import { counted, NEWEST, ownerOf, scenario } from './scenario.mjs';

const sdl = await readFile(new URL('../../../schema/schema.graphql', import.meta.url), 'utf8');
const schema = introspectionFromSchema(buildSchema(sdl));
const FIELD = { Agent: 'agent', Conversation: 'conversation' };
const owners = new Map(); // by stream, the agent or conversation whose list it is for

/** Changes the edges of the open `messages` of an agent or a conversation. */
function changeMessages(cache, owner, change) {
  const field = FIELD[owner.__typename];
  const variables = { id: owner.id, last: NEWEST }; // as in the query that loaded the list
  cache.updateQuery({ query: MESSAGES[owner.__typename], variables }, (data) => {
    const list = data?.[field]?.messages;
    if (!list) return data;
    const edges = change(list.edges);
    const ends = { startCursor: edges[0]?.cursor ?? null, endCursor: edges.at(-1)?.cursor ?? null };
    const messages = { ...list, edges, pageInfo: { ...list.pageInfo, ...ends } };
    return { ...data, [field]: { ...data[field], messages } };
  });
}

/** Appends a message. After a failed turn, removes messages that Letta has not stored. */
function heard(cache, owner, { edge, userMessageEdge, outcome }) {
  const added = edge ?? userMessageEdge;
  if (added) {
    changeMessages(cache, owner, (edges) =>
      edges.some(({ node }) => node.id === added.node.id) ? edges : [...edges, added],
    );
  } else if (outcome && outcome !== 'COMPLETED') {
    changeMessages(cache, owner, (edges) => edges.filter(({ node }) => node.createdAt !== null));
  }
}

/** Puts a new conversation in front of its agent's. */
function prependConversation(cache, agentId, edge) {
  cache.updateQuery({ query: CONVERSATIONS, variables: { id: agentId } }, (data) => {
    const list = data?.agent?.conversations;
    if (!list) return data;
    const ends = { startCursor: edge.cursor, endCursor: list.pageInfo.endCursor ?? edge.cursor };
    const conversations = { ...list, edges: [edge, ...list.edges], pageInfo: { ...list.pageInfo, ...ends } };
    return { ...data, agent: { ...data.agent, conversations } };
  });
}

const embedded = () => null;
const cacheOptions = {
  schema, // required to read fragments on several types in an update
  keys: {
    MessageConnection: embedded,
    MessageEdge: embedded,
    ConversationConnection: embedded,
    ConversationEdge: embedded,
    PageInfo: embedded,
    ToolCall: embedded,
  },
  resolvers: { Agent: { messages: relayPagination() }, Conversation: { messages: relayPagination() } },
  updates: {
    Mutation: {
      sendMessage({ sendMessage: { stream, userMessageEdge } }, { input }, cache) {
        owners.set(stream?.id, ownerOf(input.to));
        heard(cache, ownerOf(input.to), { userMessageEdge });
      },
      createConversation({ createConversation: { conversationEdge } }, { input }, cache) {
        if (conversationEdge) prependConversation(cache, input.agentId, conversationEdge);
      },
    },
    Subscription: {
      stream: ({ stream: event }, { id }, cache) => owners.has(id) && heard(cache, owners.get(id), event),
      message: ({ message: event }, { input }, cache) => heard(cache, ownerOf(input.to), event),
    },
  },
};

function makeClient() {
  const { count, send } = counted();
  const pages = new Map(); // by owner, the variables its list was opened with
  const client = new Client({
    url: `${args.url}/graphql`,
    exchanges: [cacheExchange(cacheOptions), fetchExchange],
    fetchSubscriptions: true,
    preferGetMethod: false,
    fetch: send,
  });
  const answer = async (request) => {
    const { data, error } = await request.toPromise();
    if (error) throw error;
    return data;
  };
  const held = (query, variables) => client.readQuery(query, variables).data;
  const list = (owner) => held(MESSAGES[owner.__typename], pages.get(owner.id))[FIELD[owner.__typename]].messages;
  const listen = (query, variables) =>
    new Promise((resolve, reject) => {
      let last;
      client.subscription(query, variables).subscribe(({ data, error, hasNext }) => {
        if (error) reject(error);
        if (data) last = Object.values(data)[0];
        if (!hasNext) resolve(last);
      });
    });

  return {
    count,
    cached: list,
    cachedConversations: (id) => held(CONVERSATIONS, { id }).agent.conversations,
    openConversations: (id) => answer(client.query(CONVERSATIONS, { id })),
    async open(owner, last) {
      pages.set(owner.id, { id: owner.id, last });
      await answer(client.query(MESSAGES[owner.__typename], pages.get(owner.id)));
    },
    async older(owner) {
      const before = list(owner).pageInfo.startCursor;
      await answer(client.query(MESSAGES[owner.__typename], { id: owner.id, last: 20, before }));
    },
    async startConversation(agentId) {
      const data = await answer(client.mutation(START, { input: { agentId, summary: 'A new one' } }));
      return data.createConversation.conversationEdge.node.id;
    },
    send: async (input) => (await answer(client.mutation(SEND, { input }))).sendMessage.stream.id,
    async respond(input, owner) {
      const { stream } = (await answer(client.mutation(RESPOND, { input }))).respondToApproval;
      owners.set(stream.id, owner);
      return stream.id;
    },
    follow: (id) => listen(FOLLOW, { id }),
    say: (input, streamKey) => listen(SAY, { input, streamKey }),
  };
}

await scenario(makeClient);
