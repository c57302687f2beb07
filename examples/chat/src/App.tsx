import { useMemo } from 'react';
import { Provider } from 'urql';
import { makeClient } from './client';
import { useSession, userOf } from './session';
import { SignIn } from './SignIn';
import { SignInAgain } from './SignInAgain';
import { Workspace } from './Workspace';

export function App() {
  const session = useSession();
  const user = userOf(session.token);
  const client = useMemo(() => (user === '' ? null : makeClient()), [user]);
  if (client === null) {
    return (
      <main className="alone">
        <SignIn />
      </main>
    );
  }
  return (
    <Provider value={client}>
      <Workspace key={user} client={client} signIns={session.signIns} />
      {session.refused && <SignInAgain />}
    </Provider>
  );
}
