/** A collapsed section, for reasoning and for the arguments and results of tools. */
export function Folded({ title, text, open = false }: { title: string; text: string; open?: boolean }) {
  return (
    <details open={open}>
      <summary>{title}</summary>
      <pre>{text}</pre>
    </details>
  );
}
