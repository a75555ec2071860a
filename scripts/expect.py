"""Checks a function's answer: `expect.py NAME ANSWER EXPRESSION`.

The expression is Python, over `answer` (as the function gave it), and `status` and
`body` (of an HTTP answer). Prints whether it holds; exits 1 where it does not.
"""

import json
import sys

name, text, expression = sys.argv[1:]
answer = json.loads(text)
status = body = None
if isinstance(answer, dict) and "statusCode" in answer:
    status, body = answer["statusCode"], json.loads(answer.get("body") or "null")
holds = bool(eval(expression))
shown = json.dumps(body if body is not None else answer)[:200]
print(f"{name:15} {'as expected' if holds else 'NOT ' + expression}: {shown}")
sys.exit(0 if holds else 1)
