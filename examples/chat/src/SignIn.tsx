import { useEffect, useRef, useState, type FormEvent } from 'react';
import { signIn } from './session';

/** Asks for a token. `again`: the token has expired, and the page behind keeps its state. */
export function SignIn({ again = false }: { again?: boolean }) {
  const [given, setGiven] = useState('');
  const field = useRef<HTMLTextAreaElement>(null);
  const offered = useDevelopmentToken();

  useEffect(() => {
    field.current?.focus();
  }, []);

  function submit(event: FormEvent) {
    event.preventDefault();
    if (given.trim() !== '') {
      signIn(given);
    }
  }

  return (
    <form className="sign-in" onSubmit={submit}>
      <h1>{again ? 'Sign in again' : 'Sign in'}</h1>
      {again && <p>Your sign-in has expired. Nothing is lost: you go on where you are.</p>}
      <label htmlFor="token">Your access token</label>
      <textarea
        id="token"
        ref={field}
        rows={4}
        required
        autoComplete="off"
        spellCheck={false}
        value={given}
        onChange={(event) => setGiven(event.target.value)}
        aria-describedby="token-hint"
      />
      <p id="token-hint" className="hint">
        From Supabase, or in development from <code>agentgraph token</code>. It is kept in this tab alone.
      </p>
      <p className="buttons">
        <button type="submit">Sign in</button>
        {offered !== '' && (
          <button type="button" onClick={() => signIn(offered)}>
            Sign in as Ada (development)
          </button>
        )}
      </p>
    </form>
  );
}

/** A development token, which the gateway gives to its own page on its own machine. Empty otherwise. */
function useDevelopmentToken(): string {
  const [offered, setOffered] = useState('');
  useEffect(() => {
    const leaving = new AbortController();
    fetch('/demo/token', { signal: leaving.signal })
      .then(async (answer) => {
        const body: unknown = answer.ok ? await answer.json() : null;
        if (typeof body === 'object' && body !== null && 'token' in body && typeof body.token === 'string') {
          setOffered(body.token);
        }
      })
      .catch(() => undefined); // no such offer: the field is there
    return () => leaving.abort();
  }, []);
  return offered;
}
