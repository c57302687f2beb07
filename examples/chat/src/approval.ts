import type { MessageInPlaceFragment } from './gql/graphql';

type Message = MessageInPlaceFragment['node'];
export type ApprovalRequest = Extract<Message, { __typename: 'ApprovalRequestMessage' }>;

/** The request that nobody has decided on yet: only the conversation's last word can be one. */
export function pendingApproval(messages: Message[]): ApprovalRequest | null {
  const last = messages.at(-1);
  return last?.__typename === 'ApprovalRequestMessage' ? last : null;
}
