"""Commands from what a recognizer of speech heard: python main.py MODEL.q3e < sentences; needs the extra `grammar`.

A schema holds each answer to the commands that the house knows, token by token: whatever was said, what comes is one of
them, with values in their bounds, and no answer has to be parsed twice.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import Any

import qwen3edge

ROOMS = ("kitchen", "bedroom", "hall")


def command(name: str, **values: dict[str, Any]) -> dict[str, Any]:
    """The schema of one command with these values, all of which it must have."""
    properties = {"command": {"const": name}, **values}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


ROOM = {"enum": list(ROOMS)}
SCHEMA = {
    "anyOf": [
        command("light", room=ROOM, on={"type": "boolean"}),
        command("heat", room=ROOM, degrees={"type": "integer", "minimum": 10, "maximum": 25}),
        command("nothing"),
    ]
}
SYSTEM = "You turn what is said into one command for a house. What is no command for it is the command nothing."


@dataclass
class House:
    """What the commands change."""

    lights: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(ROOMS, False))
    degrees: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROOMS, 18))

    def obey(self, wanted: dict[str, Any]) -> None:
        """Of a command that the schema holds."""
        if wanted["command"] == "light":
            self.lights[wanted["room"]] = wanted["on"]
        elif wanted["command"] == "heat":
            self.degrees[wanted["room"]] = wanted["degrees"]


def heard(model: qwen3edge.Model, sentence: str) -> dict[str, Any]:
    """The command in a sentence. The same sentence gives the same command."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": sentence}]
    answer = model.generate(messages, thinking=False, temperature=0, json_schema=SCHEMA, max_tokens=64)
    text = answer.read()
    wanted: dict[str, Any] = json.loads(text) if answer.finish_reason == "stop" else {"command": "nothing"}
    return wanted


def main(model_path: str) -> None:
    """Writes each command as JSON, and at the end what became of the house."""
    house = House()
    with qwen3edge.load(model_path, context=512, grammars=True) as model:
        for sentence in sys.stdin:
            wanted = heard(model, sentence.strip())
            house.obey(wanted)
            print(json.dumps(wanted), flush=True)
    print(f"lights {house.lights}, degrees {house.degrees}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python main.py MODEL.q3e")
    main(sys.argv[1])
