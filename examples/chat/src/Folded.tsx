/** What is there for whoever wants it: thoughts, and what tools are given and give back. */
export function Folded({ title, text, open = false }: { title: string; text: string; open?: boolean }) {
  return (
    <details open={open}>
      <summary>{title}</summary>
      <pre>{text}</pre>
    </details>
  );
}
