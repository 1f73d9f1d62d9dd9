"""Writes docs/reference/config.md from schema/node.schema.json: ``make reference``. A test holds them equal."""

from __future__ import annotations

import json
from pathlib import Path

from kvnode.node.settings import flag_of, leaves, variable_of

TARGET = Path(__file__).parent / "reference" / "config.md"

HEAD = """\
# Configuration of a node

<!-- Made by `make reference` from schema/node.schema.json: change that file, not this one. -->

A node takes its settings from four places. Each wins over those before it:

1. its defaults;
2. the YAML file that `--config` or the variable `KVNODE_CONFIG` names;
3. the environment, `KVNODE_...`;
4. the command line of `kv node run`.

`kv node run --show-config` with the same options prints every setting in force and where it comes from, and ends.

The file is YAML 1.2, so `on`, `12:30` and `2026-01-01` are text, and `true` and `false` are the only truth values.
Anchors and tags are refused. Relative paths start from the folder in which the node is started. What is wrong is told
all at once, a line each, with the place to mend it:

```text
node.yaml:3: lisen: expected a known key; did you mean listen?
KVNODE_LOG_LEVEL: log.level: expected debug, info, warning or error, found 'loud'
```

An unknown key in the file is an error. An unknown variable `KVNODE_...` is none, because container managers set some of
their own; the node warns of one that looks mistyped.

A whole file:

```yaml
name: attic
data: /var/lib/kvnode/attic
listen: 192.168.1.20:27590
insecure: true          # the network is trusted: nothing is encrypted yet
peers:
  - cellar.lan:27590
  - "[fd00::7]:27590"
http: 127.0.0.1:27591
log:
  level: info
  format: json
```

## Settings
"""


def text() -> str:
    """The page."""
    out = [HEAD]
    for key, schema in leaves():
        default = schema.get("default")
        out.append(f"### `{key}`\n")
        out.append(f"{schema['description']}\n")
        out.append("| expects | default | variable | option |\n|---|---|---|---|")
        shown = "none" if default is None else f"`{json.dumps(default).strip(chr(34))}`"
        out.append(f"| {schema['x-expected']} | {shown} | `{variable_of(key)}` | `{flag_of(key)}` |\n")
    return "\n".join(out)


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
