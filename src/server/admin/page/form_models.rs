//! The models of the form for new jobs, with the choices that each has.

use serde::Serialize;

use crate::pricing::models::{Lengths, MODELS, Model};
use crate::provider::catalogue::Catalogue;

#[derive(Serialize)]
struct FormModel {
    name: &'static str,
    takes_picture: bool,
    takes_frames: bool,
    /// `null`: any number.
    max_pictures: Option<usize>,
    picture_decides_ratio: bool,
    lengths: FormLengths,
    resolutions: Vec<FormResolution>,
}

/// All `None`: any length.
#[derive(Default, Serialize)]
struct FormLengths {
    one_of: Option<&'static [u32]>,
    from: Option<u32>,
    to: Option<u32>,
}

#[derive(Serialize)]
struct FormResolution {
    name: &'static str,
    /// Empty: all.
    ratios: &'static [&'static str],
}

/// As JSON: the known models that the provider lists; without a list, all of them.
pub(super) fn form_models(catalogue: Option<&Catalogue>) -> String {
    let is_listed = |model: &&Model| catalogue.is_none_or(|catalogue| catalogue.lists(model.name));
    let models: Vec<FormModel> = MODELS.iter().filter(is_listed).filter_map(form_model).collect();
    // Strings, numbers and lists always serialize.
    serde_json::to_string(&models).unwrap_or_default()
}

/// `None`: it needs an input whose key is not known.
fn form_model(model: &'static Model) -> Option<FormModel> {
    if model.action.is_some() {
        return None;
    }
    let lengths = match model.lengths {
        Lengths::OneOf(lengths) => FormLengths { one_of: Some(lengths), ..FormLengths::default() },
        Lengths::Between(from, to) => {
            FormLengths { from: Some(from), to: Some(to), ..FormLengths::default() }
        }
        Lengths::Unknown => FormLengths::default(),
    };
    let resolutions = model.resolutions.iter();
    let resolutions = resolutions.map(|one| FormResolution { name: one.name, ratios: one.ratios }).collect();
    Some(FormModel {
        name: model.name,
        takes_picture: model.max_images > 0 && model.takes("image_urls"),
        takes_frames: model.takes("first_frame"),
        max_pictures: Some(model.max_images).filter(|most| *most < usize::MAX),
        picture_decides_ratio: model.picture_decides_ratio,
        lengths,
        resolutions,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::provider::wire::catalogue::read_catalogue;

    fn models(catalogue: Option<&Catalogue>) -> Vec<Value> {
        serde_json::from_str(&form_models(catalogue)).unwrap()
    }

    #[test]
    fn form_has_the_choices_of_each_listed_model() {
        let find = |name: &str| models(None).into_iter().find(|model| model["name"] == name);
        let text = find("wan2.5-t2v").unwrap();
        assert_eq!((&text["takes_picture"], &text["takes_frames"]), (&json!(false), &json!(false)));
        assert_eq!(text["lengths"]["one_of"], json!([5, 10]));
        assert_eq!(text["resolutions"][0], json!({"name": "480p", "ratios": ["16:9", "9:16", "1:1"]}));
        let picture = find("wan2.6-i2v").unwrap();
        assert_eq!((&picture["takes_picture"], &picture["max_pictures"]), (&json!(true), &json!(1)));
        assert_eq!((&picture["lengths"]["from"], &picture["lengths"]["to"]), (&json!(2), &json!(15)));
        let frames = find("wan2.5-i2v").unwrap();
        assert_eq!((&frames["takes_frames"], &frames["max_pictures"]), (&json!(true), &Value::Null));
        assert!(find("wan2.7-videoedit").is_none());
        let listed = read_catalogue(&json!(["wan2.6", "painter-9"])).unwrap();
        let names: Vec<_> = models(Some(&listed)).into_iter().map(|model| model["name"].clone()).collect();
        assert_eq!(names, ["wan2.6"]);
    }
}
