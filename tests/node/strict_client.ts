// What the types made from the schema and the chat example's documents promise a client; tests/app/test_typed_client.py
// compiles it. A line below an expected error that is none fails the compilation.
import type {
  ConversationQuery,
  FollowStreamSubscription,
  SendMessageMutation,
  SendMessageMutationVariables,
} from '../../examples/chat/src/gql/graphql';

type IsAny<T> = 0 extends 1 & T ? true : false;

export function lines(data: ConversationQuery): string[] {
  // @ts-expect-error: what a service answers for can be null
  void data.conversation.id;
  const edges = data.conversation?.messages?.edges ?? [];
  // @ts-expect-error: a list may be empty
  void edges[0].node;
  const first = edges[0];
  if (first !== undefined) {
    // @ts-expect-error: what came from the cache is not changed in place
    first.cursor = '';
  }
  return edges.map(({ node }) => {
    switch (node.__typename) {
      case 'ToolCallMessage':
        return node.toolCalls.map((call) => call.name ?? '').join();
      case 'UserMessage':
        // @ts-expect-error: only a call has calls
        void node.toolCalls;
        return node.text ?? '';
      default:
        return node.createdAt ?? '';
    }
  });
}

export function said(event: FollowStreamSubscription['stream']): string {
  // @ts-expect-error: not every event has text
  void event.text;
  const known: IsAny<typeof event> = false;
  return event.__typename === 'TextDelta' && !known ? event.text : '';
}

export function ended(event: FollowStreamSubscription['stream']): boolean {
  // @ts-expect-error: no such outcome
  return event.__typename === 'StreamEnded' && event.outcome === 'FINISHED';
}

export function refused(payload: SendMessageMutation['sendMessage']): string | undefined {
  return payload.errors.find((error) => error.__typename === 'ConversationBusy')?.message;
}

const content = [{ text: 'Hello!' }];
export const right: SendMessageMutationVariables = { input: { to: { agentId: 'agent-1' }, content } };
// @ts-expect-error: a message goes to one place
export const both: SendMessageMutationVariables = { input: { to: { agentId: 'a', conversationId: 'b' }, content } };
export const unset: SendMessageMutationVariables = { input: { to: { agentId: 'a' }, content, waitSeconds: null } };
// @ts-expect-error: what is required is there
export const empty: SendMessageMutationVariables = { input: { to: { agentId: 'a' }, content: null } };
// @ts-expect-error: an id is text
export const numbered: SendMessageMutationVariables = { input: { to: { agentId: 1 }, content } };
