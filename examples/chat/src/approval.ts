import type { MessageInPlaceFragment } from './gql/graphql';

type Message = MessageInPlaceFragment['node'];
export type ApprovalRequest = Extract<Message, { __typename: 'ApprovalRequestMessage' }>;

/** Returns the pending approval request. Only the conversation's last message can be one. */
export function pendingApproval(messages: Message[]): ApprovalRequest | null {
  const last = messages.at(-1);
  return last?.__typename === 'ApprovalRequestMessage' ? last : null;
}
