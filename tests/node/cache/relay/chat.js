// Compiled by relay-compiler into __generated__; never run as it stands.
import { graphql } from 'relay-runtime';

graphql`
  fragment chat_message on Message {
    __typename
    id
    role
    text
    createdAt
    run { id status stopReason completedAt }
    ... on ToolCallMessage { toolCalls { toolCallId name arguments } }
    ... on ToolReturnMessage { name toolCallId status }
    ... on ApprovalRequestMessage { toolCalls { toolCallId name arguments } }
    ... on ApprovalResponseMessage { approve reason }
  }
`;

graphql`
  query chatAgentQuery($id: ID!, $last: Int!, $before: String) {
    agent(id: $id) {
      id
      messages(last: $last, before: $before) @connection(key: "Agent_messages") {
        edges { cursor node { ...chat_message @relay(mask: false) } }
        pageInfo { hasPreviousPage hasNextPage startCursor endCursor }
      }
    }
  }
`;

graphql`
  query chatConversationQuery($id: ID!, $last: Int!, $before: String) {
    conversation(id: $id) {
      id
      messages(last: $last, before: $before) @connection(key: "Conversation_messages") {
        edges { cursor node { ...chat_message @relay(mask: false) } }
        pageInfo { hasPreviousPage hasNextPage startCursor endCursor }
      }
    }
  }
`;

graphql`
  query chatConversationsQuery($id: ID!) {
    agent(id: $id) {
      id
      conversations(first: 20) @connection(key: "Agent_conversations") {
        edges { cursor node { id summary createdAt lastMessageAt } }
        pageInfo { hasPreviousPage hasNextPage startCursor endCursor }
      }
    }
  }
`;

graphql`
  mutation chatSendMutation($input: SendMessageInput!, $lists: [ID!]!) {
    sendMessage(input: $input) {
      userMessageEdge @appendEdge(connections: $lists) { cursor node { ...chat_message } }
      stream { id }
      errors { message }
    }
  }
`;

graphql`
  mutation chatRespondMutation($input: RespondToApprovalInput!) {
    respondToApproval(input: $input) { stream { id } errors { message } }
  }
`;

graphql`
  mutation chatStartMutation($input: CreateConversationInput!, $lists: [ID!]!) {
    createConversation(input: $input) {
      conversationEdge @prependEdge(connections: $lists) { cursor node { id summary createdAt lastMessageAt } }
    }
  }
`;

graphql`
  fragment chat_event on StreamEvent {
    __typename
    cursor
    ... on StreamStarted {
      userMessageEdge @appendEdge(connections: $lists) { cursor node { ...chat_message } }
    }
    ... on MessageAdded { edge @appendEdge(connections: $lists) { cursor node { ...chat_message } } }
    ... on ApprovalRequested { edge @appendEdge(connections: $lists) { cursor node { ...chat_message } } }
    ... on StreamEnded {
      outcome
      finishReason
      run { id status stopReason completedAt }
      conversation { id lastMessageAt }
    }
  }
`;

graphql`
  subscription chatFollowSubscription($id: ID!, $lists: [ID!]!) {
    stream(id: $id) { ...chat_event @relay(mask: false) }
  }
`;

graphql`
  subscription chatSaySubscription($input: SendMessageInput!, $streamKey: ID!, $lists: [ID!]!) {
    message(input: $input, streamKey: $streamKey) { ...chat_event @relay(mask: false) }
  }
`;
