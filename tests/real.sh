#!/usr/bin/env bash
# Test the endpoints and contracts with the real Letta and LiteLLM, started on loopback: everything with LiteLLM 1.106.2
# and Letta, and at the same time what calls LiteLLM with LiteLLM 1.110.2. Usage: real.sh RIG_DIR VENV_BIN
set -euo pipefail
rig=$1 bin=$2 logs=${RIG:-/var/tmp/upstream-rig}/logs later_logs=${RIG110:-/var/tmp/upstream-rig-110}/logs
for script in up.sh up-litellm-1.110.sh; do
  [ -x "$rig/$script" ] || { echo "no $script at $rig: set RIG_DIR" >&2; exit 1; }
done
letta=http://127.0.0.1:${LETTA_PORT:-19303} litellm=http://127.0.0.1:${LITELLM_PORT:-19302}
later_litellm=http://127.0.0.1:${LITELLM_PORT110:-19402}
export LITELLM_API_KEY=sk-rig-master-1234

# Letta's own key must be long enough for LETTA_PROXY_KEY, and known to LiteLLM before Letta starts.
let_lettas_key_in() {
  local admin=(curl -sf -o /dev/null -H "authorization: Bearer $LITELLM_API_KEY" -H "content-type: application/json")
  until "${admin[@]}" "$litellm/key/info?key=$LETTA_OPENAI_API_KEY" ||
    "${admin[@]}" "$litellm/key/generate" -d "{\"key\": \"$LETTA_OPENAI_API_KEY\"}"; do
    sleep 0.5
  done
}

answers() { curl -sf -m 10 -o /dev/null "$1"; }
services_answer() { answers "$letta/v1/health/" && answers "$litellm/health/liveliness"; }
later_answers() { answers "$later_litellm/health/liveliness"; }

waiting= later= started= later_started=
stop_services() {
  [ -z "$waiting" ] || kill "$waiting" 2>/dev/null || true
  [ -z "$later" ] || kill -- "-$later" 2>/dev/null || true
  [ -z "$later_started" ] || bash "$rig/up-litellm-1.110.sh" down
  [ -z "$started" ] || bash "$rig/down.sh"
}
trap stop_services EXIT

start_services() {
  started=1
  let_lettas_key_in & waiting=$!
  bash "$rig/up.sh"
  wait "$waiting"
  waiting=
}

last_lines() {
  echo "last lines of $1:"
  tail -n 20 "$1"
}

once_more=(--last-failed --last-failed-no-failures none)
run_tests() {
  AGENTGRAPH_TEST_REAL=1 LETTA_BASE_URL=$letta LETTA_API_KEY=rig-letta-pass LITELLM_BASE_URL=$litellm \
    MODEL_URL=http://127.0.0.1:${FAKE_PORT:-19301} \
    "$bin/python" -m pytest -q tests/doors tests/contract --ignore tests/contract/test_samples.py \
    --ignore tests/contract/test_litellm_responses.py --ignore tests/contract/test_responses_shapes.py "$@"
}

# Letta is embedded: only what calls LiteLLM differs between its versions.
calling_litellm=(tests/contract/test_{litellm,litellm_responses,responses_shapes}.py)
for name in broken_answers budgets completions images limits models openai proxy refusals requests responses streams usage; do
  calling_litellm+=("tests/doors/test_$name.py")
done
calling_litellm+=(tests/contract/test_doctor.py)
run_later_tests() {
  later_answers || bash "$rig/up-litellm-1.110.sh" || return
  env -u LETTA_BASE_URL -u LETTA_API_KEY AGENTGRAPH_TEST_REAL=1 \
    LITELLM_BASE_URL=$later_litellm MODEL_URL=http://127.0.0.1:${FAKE_PORT110:-19401} \
    "$bin/python" -m pytest -q -o cache_dir=.pytest_cache/litellm-1.110 "${calling_litellm[@]}" "$@"
}

later_answers || later_started=1
mkdir -p "$later_logs"
set -m # a process group of its own, so that all of it can be stopped
run_later_tests >"$later_logs/tests.log" 2>&1 </dev/null & later=$!
set +m
if ! services_answer; then
  # By default Letta 0.16.8 opens a new database connection for each access, and sometimes one hangs for a minute: the
  # OpenAI client of each model call is never closed, and its garbage collection closes its socket twice, the second time
  # with a file descriptor that is the database's by then. Pooled connections are faster and rarely affected.
  export LETTA_DISABLE_SQLALCHEMY_POOLING=false
  export LETTA_OPENAI_API_KEY=sk-rig-letta-f3a9c1d07b5e48629d1c
  export PYTHONFAULTHANDLER=1
  start_services
fi
run_tests || {
  [ $? = 1 ] || exit
  # The second close can still hit a call to or from Letta, and LiteLLM 1.106.2 has once ended in a segmentation fault.
  # Services that no longer answer are started again. Failed tests run once more, and must pass then.
  if [ "$started" ] && ! services_answer; then
    for name in letta litellm; do
      last_lines "$logs/$name.log"
    done
    bash "$rig/down.sh"
    start_services
  fi
  echo "run once more:"
  run_tests "${once_more[@]}"
}

status=0
wait "$later" || status=$?
later=
echo "LiteLLM 1.110.2:"
cat "$later_logs/tests.log"
[ "$status" = 0 ] || {
  [ "$status" = 1 ] || exit "$status"
  if [ "$later_started" ] && ! later_answers; then
    last_lines "$later_logs/litellm.log"
    bash "$rig/up-litellm-1.110.sh" down
  fi
  echo "run once more:"
  run_later_tests "${once_more[@]}"
}
