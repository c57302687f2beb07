// Apollo Client: a field policy for the lists, and one function that puts a message in its place.
import { ApolloClient, gql, HttpLink, InMemoryCache } from '@apollo/client';
import { relayStylePagination } from '@apollo/client/utilities';
import { args } from '../lib.mjs';
import { CONVERSATIONS, FOLLOW, MESSAGES, RESPOND, SAY, SEND, START } from './documents.mjs';
import { counted, ownerOf, scenario } from './scenario.mjs';

const makeCache = () =>
  new InMemoryCache({
    typePolicies: {
      Agent: { fields: { messages: relayStylePagination(), conversations: relayStylePagination() } },
      Conversation: { fields: { messages: relayStylePagination() } },
    },
  });

/** Appends a message to the `messages` of an agent or a conversation. */
function appendMessage(cache, owner, edge) {
  cache.modify({
    id: cache.identify(owner),
    fields: {
      messages(list, { readField, toReference }) {
        if (list.edges.some((one) => readField('id', readField('node', one)) === edge.node.id)) return list;
        const place = { __typename: edge.__typename, cursor: edge.cursor, node: toReference(edge.node) };
        const startCursor = list.pageInfo.startCursor || edge.cursor;
        const pageInfo = { ...list.pageInfo, startCursor, endCursor: edge.cursor };
        return { ...list, edges: [...list.edges, place], pageInfo };
      },
    },
  });
}

/** Removes the messages of a failed turn that Letta has not stored. */
function dropUnstored(cache, owner) {
  cache.modify({
    id: cache.identify(owner),
    fields: {
      messages(list, { readField }) {
        const edges = list.edges.filter((one) => readField('createdAt', readField('node', one)) !== null);
        const pageInfo = { ...list.pageInfo, endCursor: edges.at(-1)?.cursor ?? null };
        return { ...list, edges, pageInfo };
      },
    },
  });
}

/** Puts a new conversation in front of its agent's. */
function prependConversation(cache, agentId, edge) {
  cache.modify({
    id: cache.identify({ __typename: 'Agent', id: agentId }),
    fields: {
      conversations(list, { toReference }) {
        const place = { __typename: edge.__typename, cursor: edge.cursor, node: toReference(edge.node) };
        const endCursor = list.pageInfo.endCursor || edge.cursor;
        const pageInfo = { ...list.pageInfo, startCursor: edge.cursor, endCursor };
        return { ...list, edges: [place, ...list.edges], pageInfo };
      },
    },
  });
}

function makeClient() {
  const { count, send } = counted();
  const cache = makeCache();
  const client = new ApolloClient({ cache, link: new HttpLink({ uri: `${args.url}/graphql`, fetch: send }) });
  const pages = new Map();
  const field = { Agent: 'agent', Conversation: 'conversation' };
  const read = (query, variables) => cache.readQuery({ query: gql(query), variables });
  const list = (owner) => read(MESSAGES[owner.__typename], pages.get(owner.id))[field[owner.__typename]].messages;
  const watch = async (query, variables) => {
    const watched = client.watchQuery({ query: gql(query), variables });
    await new Promise((resolve, reject) =>
      watched.subscribe({
        next: ({ loading, data, error }) => (error ? reject(error) : !loading && data && resolve()),
        error: reject,
      }),
    );
    return watched;
  };
  const listen = (query, variables, owner) =>
    new Promise((resolve, reject) => {
      let last;
      client.subscribe({ query: gql(query), variables }).subscribe({
        next({ data, error }) {
          if (error) return reject(error);
          last = Object.values(data)[0];
          const edge = last.edge ?? last.userMessageEdge;
          if (edge) appendMessage(cache, owner, edge);
          if (last.outcome && last.outcome !== 'COMPLETED') dropUnstored(cache, owner);
        },
        error: reject,
        complete: () => resolve(last),
      });
    });
  const watched = new Map();

  return {
    count,
    cached: list,
    cachedConversations: (id) => read(CONVERSATIONS, { id }).agent.conversations,
    async openConversations(id) {
      await watch(CONVERSATIONS, { id });
    },
    async open(owner, last) {
      pages.set(owner.id, { id: owner.id, last });
      watched.set(owner.id, await watch(MESSAGES[owner.__typename], { id: owner.id, last }));
    },
    async older(owner) {
      const before = list(owner).pageInfo.startCursor;
      await watched.get(owner.id).fetchMore({ variables: { last: 20, before } });
    },
    async startConversation(agentId) {
      const { data } = await client.mutate({
        mutation: gql(START),
        variables: { input: { agentId, summary: 'A new one' } },
        update: (store, { data }) => prependConversation(store, agentId, data.createConversation.conversationEdge),
      });
      return data.createConversation.conversationEdge.node.id;
    },
    async send(input) {
      const { data } = await client.mutate({
        mutation: gql(SEND),
        variables: { input },
        update: (store, { data }) => appendMessage(store, ownerOf(input.to), data.sendMessage.userMessageEdge),
      });
      return data.sendMessage.stream.id;
    },
    async respond(input) {
      const { data } = await client.mutate({ mutation: gql(RESPOND), variables: { input } });
      return data.respondToApproval.stream.id;
    },
    follow: (id, owner) => listen(FOLLOW, { id }, owner),
    say: (input, streamKey) => listen(SAY, { input, streamKey }, ownerOf(input.to)),
    close: () => client.stop(),
  };
}

await scenario(makeClient);
