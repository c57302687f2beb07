import { useState } from 'react';
import { useMutation } from 'urql';
import type { ApprovalRequest } from './approval';
import { problemOf } from './errors';
import { RespondToApprovalDocument, type ApprovalDecision } from './gql/graphql';
import { ProblemNote } from './ProblemNote';
import type { Start } from './turn';

interface Props {
  request: ApprovalRequest;
  onBegun: (start: Start) => void;
}

/** Approves or denies tool calls. The turn continues in a new run with a new stream. */
export function ApprovalForm({ request, onBegun }: Props) {
  const [reason, setReason] = useState('');
  const [{ fetching, error, data }, respond] = useMutation(RespondToApprovalDocument);
  const refusal = data?.respondToApproval.errors[0];

  async function decide(decision: ApprovalDecision) {
    const input = { requestId: request.id, decision, reason: reason.trim() || null };
    const { data: answer } = await respond({ input });
    const payload = answer?.respondToApproval;
    if (payload?.stream) {
      onBegun({ streamId: payload.stream.id, runId: payload.run?.id ?? null });
    }
  }

  return (
    <fieldset disabled={fetching}>
      <legend>May the agent do this?</legend>
      <label>
        Why <small>(the agent reads it; not needed)</small>
        <input value={reason} maxLength={500} onChange={(event) => setReason(event.target.value)} />
      </label>
      <p className="buttons">
        <button type="button" onClick={() => void decide('APPROVE')}>
          Approve
        </button>
        <button type="button" onClick={() => void decide('DENY')}>
          Deny
        </button>
      </p>
      {error && <ProblemNote problem={problemOf(error)} />}
      {refusal && <p role="alert">{refusal.message}</p>}
    </fieldset>
  );
}
