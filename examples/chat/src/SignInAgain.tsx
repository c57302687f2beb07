import { useEffect, useRef } from 'react';
import { SignIn } from './SignIn';

/** A dialog over the page, which keeps its state. The browser restores the focus at the end. */
export function SignInAgain() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const shown = dialog.current;
    shown?.showModal();
    return () => shown?.close();
  }, []);
  return (
    <dialog ref={dialog} aria-label="Sign in again" onCancel={(event) => event.preventDefault()}>
      <SignIn again />
    </dialog>
  );
}
