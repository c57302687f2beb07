'use strict';
const byId = (id) => document.getElementById(id);

const show = (cell, word, more) => {
  cell.textContent = more ? `${word} (${more})` : word;
  cell.className = `health ${word}`;
};

// Screen readers announce each change, so the text is set only if it changes.
const tell = (words) => {
  const overall = byId('overall');
  if (overall.textContent !== words) overall.textContent = words;
};

const look = async () => {
  try {
    const seen = await (await fetch('/health')).json();
    for (const row of document.querySelectorAll('[data-service]')) {
      const one = seen.services?.[row.dataset.service];
      const cell = row.querySelector('.health');
      if (!one) cell.textContent = 'not shown';
      else show(cell, one.status.toLowerCase(), one.breaker && one.breaker !== 'closed' && `breaker ${one.breaker}`);
    }
    tell(`Health: ${seen.status}.`);
  } catch {
    tell('Health: the gateway does not respond.');
  }
};

const copy = async (button) => {
  const pre = byId(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(pre.textContent);
    button.textContent = 'Copied';
  } catch {
    getSelection().selectAllChildren(pre);
    button.textContent = 'Selected';
  }
  setTimeout(() => { button.textContent = 'Copy'; }, 2000);
};

document.addEventListener('click', ({ target }) => { if (target.dataset?.copy) copy(target); });
look();
setInterval(() => { if (!document.hidden) look(); }, 5000);
