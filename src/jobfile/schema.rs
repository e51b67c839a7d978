//! The rules for job files as a JSON Schema (draft 7, which every editor knows), made from the tables that the reader
//! itself goes by. It says less than the reader: what a schema cannot say (a key given twice, a private address, the
//! inputs of the mode that was meant) only the reader finds.

use serde_json::{Map, Value, json};

use crate::jobfile::field::{FIELDS, Field, FieldType};
use crate::jobfile::{MAX_MODEL_CHARS, dropreel_member};
use crate::pricing::models::{MODELS, Mode, Model};

/// The schema of a document: one job, or an array of them. `#/definitions/job` is that of a line of a line file.
pub fn schema() -> Value {
    let names: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
    let mut rules = vec![json!({
        "if": is_model(&json!({ "enum": names })),
        "then": { "properties": properties(FIELDS) },
    })];
    let with_modes = MODELS.iter().filter(|model| !model.modes.is_empty());
    rules.extend(with_modes.map(|model| {
        let mut is_model = is_model(&json!({ "const": model.name }));
        // A matrix may hold the inputs.
        is_model["properties"]["dropreel"] = json!({ "not": { "required": ["matrix"] } });
        json!({ "if": is_model, "then": { "anyOf": modes(model) } })
    }));
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:dropreel:schema:job-file",
        "title": "dropreel job file",
        "description": "The body of the provider's POST /v1/tasks, or an array of them. Unknown keys are sent unchanged.",
        "oneOf": [
            { "$ref": "#/definitions/job" },
            { "type": "array", "minItems": 1, "items": { "$ref": "#/definitions/job" } },
        ],
        "definitions": {
            "job": {
                "type": "object",
                "anyOf": [
                    { "required": ["model"] },
                    { "required": ["dropreel"], "properties": { "dropreel": varies("model") } },
                ],
                "properties": {
                    "model": {
                        "type": "string",
                        "pattern": "\\S",
                        "maxLength": MAX_MODEL_CHARS,
                        "description": "Which model makes it; those named here are checked, others pass.",
                        "anyOf": [{ "enum": names }, {}],
                    },
                    "prompt": { "type": "string", "description": "What the video shows." },
                    "callback_url": { "not": {}, "description": "dropreel sets its own." },
                    "dropreel": dropreel_member::schema(),
                },
                "allOf": rules,
            },
        },
    })
}

/// A `dropreel` member whose matrix has the key.
fn varies(key: &str) -> Value {
    json!({ "required": ["matrix"], "properties": { "matrix": { "required": [key] } } })
}

fn is_model(what: &Value) -> Value {
    json!({ "required": ["model"], "properties": { "model": what } })
}

fn properties(fields: &[Field]) -> Map<String, Value> {
    fields.iter().map(|field| (field.key.to_owned(), of_shape(&field.field_type))).collect()
}

/// A public address, or the path of a picture: `./`, or an ending.
const MEDIA: &str = concat!(
    "^([Hh][Tt][Tt][Pp][Ss]?://|\\./|",
    "[^/~\\\\:][^\\\\:]*\\.([Jj][Pp][Ee]?[Gg]|[Pp][Nn][Gg]|[Ww][Ee][Bb][Pp]|[Bb][Mm][Pp])$)"
);
const MEDIA_DESCRIPTION: &str =
    "A public http(s) address or, with media.serve, the path of a picture beside or below the job file";

fn of_shape(field_type: &FieldType) -> Value {
    let media = json!({ "type": "string", "pattern": MEDIA, "description": MEDIA_DESCRIPTION });
    match field_type {
        FieldType::Text { max_chars: None } => json!({ "type": "string" }),
        FieldType::Text { max_chars: Some(most) } => json!({ "type": "string", "maxLength": most }),
        FieldType::Word(words) => json!({ "enum": words }),
        FieldType::Whole { least, greatest } => {
            json!({ "type": "integer", "minimum": least, "maximum": greatest })
        }
        FieldType::Flag => json!({ "type": "boolean" }),
        FieldType::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        FieldType::Media => media,
        FieldType::Medias => json!({ "type": "array", "minItems": 1, "items": media }),
        FieldType::Fields(fields) => json!({ "type": "object", "properties": properties(fields) }),
    }
}

fn modes(model: &Model) -> Vec<Value> {
    model.modes.iter().map(mode).collect()
}

fn mode(mode: &Mode) -> Value {
    let needs: Vec<Value> = mode.needs.iter().map(|need| of_need(need)).collect();
    json!({ "description": mode.what, "allOf": needs })
}

fn of_need(need: &[&str]) -> Value {
    let given = |key: &&str| match *key {
        "prompt" => json!({ "required": [key], "properties": { "prompt": { "pattern": "\\S" } } }),
        key => json!({ "required": [key] }),
    };
    match need {
        [one] => given(one),
        several => json!({ "anyOf": several.iter().map(given).collect::<Vec<_>>() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_schema_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/job-file.schema.json");
        let text = format!("{:#}\n", schema());
        if std::env::var_os("DROPREEL_GOLDEN").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), text);
    }
}
