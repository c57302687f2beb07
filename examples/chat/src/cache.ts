// The normalised cache. Streamed messages are cached as queried ones are: the edge of `MessageAdded` or
// `ApprovalRequested` is appended to the `messages` of its conversation.
import type { Cache, CacheExchangeOpts, DataFields } from '@urql/exchange-graphcache';
import {
  ConversationsDocument,
  type ConversationsQuery,
  type ConversationsQueryVariables,
  type FollowStreamSubscription,
  type MessageInPlaceFragment,
  type StartConversationMutation,
} from './gql/graphql';

type Entity = { __typename: string; id: string };

/** The arguments with which the page queries a conversation's newest messages. */
const NEWEST = { last: 20 };

const conversationOf = new Map<string, string>();

/** Registers a stream's conversation. Call it before following the stream. */
export function streamsInto(streamId: string, conversationId: string): void {
  conversationOf.set(streamId, conversationId);
}

const embedded = () => null;

export const cacheOptions: Partial<CacheExchangeOpts> = {
  possibleTypes: {}, // every fragment is on a concrete type: it fits that one and no other
  keys: {
    AgentConnection: embedded,
    AgentEdge: embedded,
    ConversationConnection: embedded,
    ConversationEdge: embedded,
    MessageConnection: embedded,
    MessageEdge: (edge) => String(edge.cursor),
    PageInfo: embedded,
    Platform: embedded,
    ServiceHealth: embedded,
    StreamFailure: embedded,
    ToolCall: embedded,
  },
  updates: {
    Subscription: { stream: streamed },
    Mutation: { createConversation: conversationStarted },
  },
};

function streamed(result: DataFields, variables: DataFields, cache: Cache): void {
  const { stream: event } = result as FollowStreamSubscription;
  const id = conversationOf.get(String(variables.id));
  if (id === undefined) {
    return;
  }
  const conversation = { __typename: 'Conversation', id };
  if (event.__typename === 'MessageAdded' || event.__typename === 'ApprovalRequested') {
    appendMessage(cache, conversation, event.edge);
  } else if (event.__typename === 'StreamEnded') {
    cache.link(conversation, 'activeRun', null);
  }
}

function appendMessage(cache: Cache, conversation: Entity, edge: MessageInPlaceFragment): void {
  const messages = cache.resolve(conversation, 'messages', NEWEST);
  const places = typeof messages === 'string' ? cache.resolve(messages, 'edges') : null;
  const edgeKey = cache.keyOfEntity({ __typename: 'MessageEdge', cursor: edge.cursor });
  if (typeof messages !== 'string' || !Array.isArray(places) || edgeKey === null) {
    return; // the conversation has not been read: the query for it brings the message
  }
  const keys = places.map(String);
  const nodeKey = cache.keyOfEntity({ __typename: edge.node.__typename, id: edge.node.id });
  if (!keys.some((key) => cache.resolve(key, 'node') === nodeKey)) {
    cache.link(messages, 'edges', [...keys, edgeKey]);
  }
}

function conversationStarted(result: DataFields, variables: DataFields, cache: Cache): void {
  const { conversationEdge } = (result as StartConversationMutation).createConversation;
  const { agentId } = variables.input as { agentId: string };
  cache.updateQuery<ConversationsQuery, ConversationsQueryVariables>(
    { query: ConversationsDocument, variables: { agentId } },
    (data) => {
      const list = data?.agent?.conversations;
      if (!data?.agent || !list || !conversationEdge) {
        return data;
      }
      return { ...data, agent: { ...data.agent, conversations: { ...list, edges: [conversationEdge, ...list.edges] } } };
    },
  );
}
