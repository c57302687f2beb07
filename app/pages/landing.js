'use strict';
const byId = (id) => document.getElementById(id);

const show = (cell, word, more) => {
  cell.textContent = more ? `${word} (${more})` : word;
  cell.className = `health ${word}`;
};

const look = async () => {
  try {
    const seen = await (await fetch('/health')).json();
    for (const row of document.querySelectorAll('[data-service]')) {
      const one = seen.services?.[row.dataset.service];
      const cell = row.querySelector('.health');
      if (!one) cell.textContent = 'not told here';
      else show(cell, one.status.toLowerCase(), one.breaker && one.breaker !== 'closed' && `breaker ${one.breaker}`);
    }
    byId('overall').textContent = `Health: ${seen.status}, at ${new Date().toLocaleTimeString()}.`;
  } catch {
    byId('overall').textContent = 'Health: the gateway does not answer.';
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
