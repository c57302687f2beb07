from __future__ import annotations

import json
import subprocess
import sys

COUNT = """
import gc, json
from app.garbage import settle
started = {0: [], 1: [], 2: []}
settle()
gc.callbacks.append(lambda phase, info: phase == "start" and started[info["generation"]].append(len(made)))
made = []
for _ in range(500_000):
    made.append([])
gc.disable()
print(json.dumps([started[0][:1], started[1][:2], started[2]]))
"""


def test_young_collections_visit_few_objects_and_full_collections_are_rare() -> None:
    """A collection begins when the gateway has made a number of objects, which the test counts."""
    ran = subprocess.run([sys.executable, "-c", COUNT], check=True, capture_output=True, text=True, timeout=60)
    [first], [second, fourth], full = json.loads(ran.stdout)
    assert 6_900 < first <= 7_000
    assert 13_900 < fourth - second <= 14_100
    assert len(full) == 1
    assert 400_000 < full[0] < 430_000
