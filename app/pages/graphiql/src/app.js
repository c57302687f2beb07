// GraphiQL with a bar above it (token, transport, saved operations) and, below an answer, the text of its stream.
import { useGraphiQL, useGraphiQLActions } from '@graphiql/react';
import { GraphiQL } from 'graphiql';
import { createElement as h, useEffect, useMemo, useRef, useState } from 'react';
import { createPortal } from 'react-dom';
import { createRoot } from 'react-dom/client';
import { createFetcher } from './fetcher.js';

const CONFIG = JSON.parse(document.querySelector('meta[name=agentgraph]').content);
const nameOf = ({ query }) => /^\s*(?:query|mutation|subscription)\s+(\w+)/m.exec(query)?.[1];
const HINT = CONFIG.developmentTokens
  ? 'Paste a token. The command agentgraph token prints one.'
  : 'Paste the access token that Supabase returned at sign-in.';
const NO_RUN = { filled: {}, transport: null, events: 0, text: '', outcome: null };

// Stored for this browser tab only. If the server provides a token, it provides a new one at each load.
const kept = (name, otherwise) => sessionStorage.getItem(`agentgraph:${name}`) ?? otherwise;
const keep = (name, value) => sessionStorage.setItem(`agentgraph:${name}`, value);

function App() {
  const [token, setToken] = useState(CONFIG.token ?? kept('token', ''));
  const [transport, setTransport] = useState(kept('transport', 'sse'));
  const [run, setRun] = useState(NO_RUN);
  const session = useRef({}).current;
  Object.assign(session, {
    token: token.trim(),
    transport,
    begun: (facts) => setRun({ ...NO_RUN, ...facts }),
    event: ({ data }) => setRun((before) => heard(before, Object.values(data ?? {})[0])),
    ended: () => setRun((before) => ({ ...before, outcome: before.outcome ?? 'STOPPED' })),
  });
  useEffect(() => {
    if (!CONFIG.token) keep('token', token);
    keep('transport', transport);
  }, [token, transport]);
  const fetcher = useMemo(() => createFetcher(session), [session]);
  return h(
    GraphiQL,
    { fetcher, defaultTabs: CONFIG.operations, defaultEditorToolsVisibility: 'variables' },
    h(GraphiQL.Logo, null, h('span')),
    h(GraphiQL.Footer, null, h(Run, { run, clear: () => setRun(NO_RUN) })),
    createPortal(h(Bar, { token, setToken, transport, setTransport }), document.getElementById('bar')),
  );
}

function heard(before, event) {
  return {
    ...before,
    events: before.events + 1,
    text: event?.__typename === 'ReasoningDelta' ? before.text : before.text + (event?.text ?? ''),
    outcome: event?.outcome ?? before.outcome,
  };
}

// Shows the resolved placeholders of a run and the text of its stream; GraphiQL's result shows only the newest event.
function Run({ run, clear }) {
  const tab = useGraphiQL((state) => state.tabs[state.activeTabIndex]?.id);
  useEffect(clear, [tab]);
  const words = Object.entries(run.filled);
  if (words.length === 0 && run.transport === null) return null;
  return h(
    'section',
    { className: 'run', 'aria-label': 'This run' },
    run.transport !== null && [
      h(
        'p',
        { key: 'facts', className: 'facts' },
        `${run.events} events over ${run.transport === 'ws' ? 'WebSocket' : 'SSE'}: `,
        h('span', { role: 'status' }, run.outcome ?? 'RUNNING'),
      ),
      h('p', { key: 'text', className: 'text' }, run.text),
    ],
    words.length > 0 &&
      h('dl', null, ...words.flatMap(([word, value]) => [h('dt', null, word), h('dd', null, value)])),
  );
}

function Bar({ token, setToken, transport, setTransport }) {
  const radio = (value, label) =>
    h(
      'label',
      { key: value },
      h('input', {
        type: 'radio',
        name: 'transport',
        value,
        checked: transport === value,
        onChange: () => setTransport(value),
      }),
      label,
    );
  return [
    h('h1', { key: 'home' }, h('a', { href: '/' }, 'agentgraph')),
    h(
      'div',
      { key: 'token', className: 'token' },
      h('label', { htmlFor: 'token' }, 'Token'),
      h('input', {
        id: 'token',
        type: 'password',
        value: token,
        autoComplete: 'off',
        spellCheck: false,
        'aria-describedby': 'token-hint',
        onChange: (change) => setToken(change.target.value),
      }),
      h('span', { id: 'token-hint' }, token ? (token === CONFIG.token ? 'Ada, valid for one day' : '') : HINT),
    ),
    h(
      'fieldset',
      { key: 'transport', 'aria-label': 'Subscriptions over' },
      h('span', { 'aria-hidden': true }, 'Subscriptions over'),
      radio('sse', 'SSE'),
      radio('ws', 'WebSocket'),
    ),
    h(Examples, { key: 'examples' }),
    h('a', { key: 'docs', href: '/docs' }, 'REST docs'),
  ];
}

// Switches to the tab of a saved operation, or opens it again.
function Examples() {
  const tabs = useGraphiQL((state) => state.tabs);
  const queryEditor = useGraphiQL((state) => state.queryEditor);
  const variableEditor = useGraphiQL((state) => state.variableEditor);
  const { addTab, changeTab } = useGraphiQLActions();
  const open = (example) => {
    const at = tabs.findIndex(({ title }) => title === nameOf(example));
    if (at >= 0) return changeTab(at);
    addTab();
    queryEditor?.setValue(example.query);
    variableEditor?.setValue(example.variables);
  };
  return h(
    'select',
    {
      value: '',
      'aria-label': 'Saved operations',
      onChange: (change) => open(CONFIG.operations[Number(change.target.value)]),
    },
    h('option', { value: '', disabled: true }, 'Saved operations'),
    ...CONFIG.operations.map((example, number) => h('option', { key: number, value: number }, nameOf(example))),
  );
}

export function start() {
  createRoot(document.getElementById('graphiql')).render(h(App));
}
