#!/usr/bin/env bash
# The doors and the contracts against the real Letta and LiteLLM that the rig starts on loopback. usage: real.sh RIG_DIR VENV_BIN
set -euo pipefail
rig=$1 bin=$2
[ -x "$rig/up.sh" ] || { echo "no rig at $rig: set RIG_DIR" >&2; exit 1; }
letta=http://127.0.0.1:${LETTA_PORT:-19303} litellm=http://127.0.0.1:${LITELLM_PORT:-19302}
if ! curl -sf -o /dev/null "$letta/v1/health/" || ! curl -sf -o /dev/null "$litellm/health/liveliness"; then
  trap 'bash "$rig/down.sh"' EXIT
  bash "$rig/up.sh"
fi
export AGENTGRAPH_TEST_REAL=1
export LETTA_BASE_URL=$letta LETTA_API_KEY=rig-letta-pass
export LITELLM_BASE_URL=$litellm LITELLM_API_KEY=sk-rig-master-1234
export MODEL_URL=http://127.0.0.1:${FAKE_PORT:-19301}
# What is left out here costs minutes, and is asked of the embedded ones: EVERYTHING=1 runs every door and the contracts.
doors=(circle clients conversations federation follow http images javascript memory models openai pages proxy query runs
  signin socket streams templates turns usage)
files=("${doors[@]/#/tests/doors/test_}")
# Letta 0.16.8 itself now and then waits a minute for a connection to its database that never comes ("TimeoutError" under
# asyncpg in its log), and whatever asks it meanwhile fails. What failed is asked once more, and must pass then.
asked() {
  "$bin/python" -m pytest -q "$@" && return 0 || [ $? = 1 ] || return
  echo "asked once more:"
  "$bin/python" -m pytest -q --last-failed --last-failed-no-failures none "$@"
}
if [ -n "${EVERYTHING:-}" ]; then
  asked tests/doors tests/contract
else
  asked "${files[@]/%/.py}"
fi
