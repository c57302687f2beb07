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
  NOT_FOUND: 'Not found.',
  RATE_LIMITED: 'Too many requests. Wait a moment.',
  BUDGET_EXCEEDED: 'Your budget is exhausted.',
  UPSTREAM_UNAVAILABLE: 'A service is unavailable.',
  UPSTREAM_TIMEOUT: 'A service did not respond in time.',
  UPSTREAM_ERROR: 'A service returned an error.',
  OVERLOADED: 'The gateway is busy. Wait a moment.',
  INTERNAL_ERROR: 'The gateway had an internal error.',
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
