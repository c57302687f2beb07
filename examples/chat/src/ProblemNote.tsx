import type { Problem } from './errors';

/** An error message where the error occurred, with a retry if one can help. */
export function ProblemNote({ problem, onRetry }: { problem: Problem; onRetry?: () => void }) {
  return (
    <div role="alert" className="problem">
      <p>
        {problem.text}
        {problem.requestId !== null && <small> Request {problem.requestId}</small>}
      </p>
      {onRetry && (
        <button type="button" onClick={onRetry}>
          Try again
        </button>
      )}
    </div>
  );
}
