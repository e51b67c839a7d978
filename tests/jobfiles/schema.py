"""Checks the JSON Schema of job files against the corpus: it accepts every good file, and rejects most of the bad ones
that are JSON."""
import json
import pathlib
import sys

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "schema/job-file.schema.json").read_text())
jsonschema.Draft7Validator.check_schema(SCHEMA)
DOCUMENT = jsonschema.Draft7Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
LINE = jsonschema.Draft7Validator({"$ref": "#/definitions/job", "definitions": SCHEMA["definitions"]})


def verdicts(path):
    """Whether each document of the file passes; nothing for what is no JSON."""
    text = path.read_bytes().decode("utf-8-sig")
    if path.suffix == ".json":
        return [DOCUMENT.is_valid(json.loads(text))]
    return [LINE.is_valid(json.loads(line)) for line in text.split("\n") if line.strip()]


def files(folder):
    endings = (".json", ".jsonl", ".ndjson")
    return sorted(path for path in (ROOT / "tests/jobfiles" / folder).rglob("*") if path.suffix in endings)


wrong, refused, passed = [], 0, []
for path in files("good"):
    if not all(verdicts(path)):
        wrong.append(f"{path.name} is good, but the schema rejects it")
for path in files("bad"):
    try:
        found = verdicts(path)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        continue
    if found and all(found):
        passed.append(path.name)
    else:
        refused += 1
print(f"of the bad files that are JSON, the schema rejects {refused}; only the reader rejects {len(passed)}: {', '.join(passed)}")
if refused < 2 * len(passed):
    wrong.append("the schema rejects too few bad files")
for line in wrong:
    print(line, file=sys.stderr)
sys.exit(1 if wrong else 0)
