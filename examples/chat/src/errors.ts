// Error messages for the user. GraphQL errors have `extensions { code service retryable requestId }`.
import type { CombinedError } from 'urql';

export interface Problem {
  text: string;
  code: string;
  /** The service that failed, as in `ServiceName`. */
  service: string | null;
  /** Whether a retry can succeed. */
  retryable: boolean;
  retryAfterSeconds: number | null;
  requestId: string | null;
}

const WORDS: Record<string, string> = {
  UNAUTHENTICATED: 'Your sign-in has expired.',
  NOT_FOUND: 'This does not exist, or it is not yours.',
  RATE_LIMITED: 'Too many requests just now. Wait a moment.',
  BUDGET_EXCEEDED: 'Your budget is spent.',
  UPSTREAM_UNAVAILABLE: 'A service behind this page cannot be reached just now.',
  UPSTREAM_TIMEOUT: 'A service behind this page did not answer in time.',
  UPSTREAM_ERROR: 'A service behind this page answered badly.',
  OVERLOADED: 'The gateway is busy. Wait a moment.',
  INTERNAL_ERROR: 'Something went wrong in the gateway.',
};

export function problemOf(error: CombinedError): Problem {
  const [first] = error.graphQLErrors;
  if (first === undefined) {
    const text = 'The gateway cannot be reached. Check your connection.';
    return { text, code: 'NETWORK', service: null, retryable: true, retryAfterSeconds: null, requestId: null };
  }
  const said = first.extensions ?? {};
  const code = typeof said.code === 'string' ? said.code : '';
  return {
    text: WORDS[code] ?? first.message,
    code,
    service: typeof said.service === 'string' ? said.service.toUpperCase() : null,
    retryable: said.retryable === true,
    retryAfterSeconds: typeof said.retryAfterSeconds === 'number' ? said.retryAfterSeconds : null,
    requestId: typeof said.requestId === 'string' ? said.requestId : null,
  };
}
