//! Local pictures that requests name (docs/reference.md#local-pictures): which texts are such paths, which pictures a
//! request names, and the public addresses in their place.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::jobfile::Form;
use crate::jobfile::field::{DROPREEL_KEY, MEDIA_KEYS};
use crate::jobfile::findings::Findings;
use crate::jobfile::json::{self, JsonValue, Member, Node};
use crate::jobfile::links::{self, LinkFault};

const MATRIX_KEY: &str = "matrix";
/// The longest path of a picture, in bytes.
const MAX_PATH_BYTES: usize = 1000;

/// Whether the requests of a job file may name pictures by their paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalPictures {
    /// No: `media.serve` is off.
    #[default]
    Off,
    /// Those beside or below the job file.
    BesideJobFile,
    /// Those that are handed over with the request or known from an older job, under any relative path.
    HandedOver,
}

/// Which local pictures a request may name.
#[derive(Clone, Copy)]
pub struct PictureRules<'d> {
    pub pictures: LocalPictures,
    /// Paths that defaults of folders above name, as they are written from the job file's folder.
    pub of_defaults: &'d BTreeSet<String>,
}

/// A local picture that a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPicture {
    /// Its path as the request names it.
    pub path: String,
    /// Where it was found and what it is; `None` until that is known.
    pub found: Option<FoundPicture>,
}

/// A picture of which dropreel keeps a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPicture {
    /// The original's path below the inbox; `None`: it was uploaded, and there is only the copy.
    pub inbox_path: Option<String>,
    /// The content.
    pub content: PictureContent,
}

/// The content of a picture: what its copy is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PictureContent {
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// What it is, by its content.
    pub picture_type: PictureType,
}

/// The types that video models take.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum PictureType {
    /// JPEG
    Jpg,
    /// PNG
    Png,
    /// WebP
    Webp,
    /// BMP
    Bmp,
}

impl PictureType {
    /// The media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jpg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
            Self::Bmp => "image/bmp",
        }
    }
}

impl PictureContent {
    /// The last part of its public address.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.sha256, self.picture_type.into_str())
    }

    /// The content that a last part of an address names. Only the spelling of [`file_name`](Self::file_name) is one.
    pub fn of_file_name(name: &str) -> Option<Self> {
        let (sha256, ending) = name.split_once('.')?;
        let is_digest =
            sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let picture_type = ending.parse().ok()?;
        is_digest.then(|| Self { sha256: sha256.to_owned(), picture_type })
    }
}

/// What is wrong with a media input of a known model; `None` for a public URL and for a picture that may be local.
pub(super) fn fault(input: &str, rules: PictureRules<'_>) -> Option<&'static str> {
    match links::fault(input)? {
        LinkFault::LocalPath => local_fault(input, rules),
        LinkFault::NoUrl if rules.pictures != LocalPictures::Off => {
            Some("must be a public http(s) URL or the path of a picture, such as `a.png` or `./a`")
        }
        other => Some(other.message()),
    }
}

/// The same for a model that is not in the table, which may understand other inputs.
pub(super) fn fault_for_any_model(input: &str, rules: PictureRules<'_>) -> Option<&'static str> {
    match links::fault(input)? {
        LinkFault::LocalPath => local_fault(input, rules),
        other => other.is_never_fetchable().then(|| other.message()),
    }
}

fn local_fault(input: &str, rules: PictureRules<'_>) -> Option<&'static str> {
    match rules.pictures {
        LocalPictures::Off => Some(
            "is a path on this machine: the provider takes public http(s) URLs; with `media.serve = true`, dropreel \
             serves pictures that lie beside the job file",
        ),
        _ if rules.of_defaults.contains(input) => None,
        pictures => path_fault(input, pictures),
    }
}

/// Why a path cannot be that of a picture beside or below its job file.
fn path_fault(path: &str, pictures: LocalPictures) -> Option<&'static str> {
    let is_drive = || path.as_bytes().get(1) == Some(&b':');
    let is_home = path.starts_with('~');
    if path.contains('\\') {
        Some("is a path with `\\`: write `/` between folder and file")
    } else if path.starts_with('/') || is_home || is_drive() || path.get(..5).is_some_and(is_file_scheme) {
        Some(
            "is an absolute path: put the picture beside the job file or below it, and give the path from there",
        )
    } else if pictures == LocalPictures::BesideJobFile && path.split('/').any(|part| part == "..") {
        Some("leads out of the job file's folder by `..`: put the picture beside the job file or below it")
    } else if path.chars().any(char::is_control)
        || path.split('/').any(str::is_empty)
        || path.len() > MAX_PATH_BYTES
    {
        Some("is not a path of a file: name it as in `pictures/a.png`")
    } else {
        None
    }
}

fn is_file_scheme(beginning: &str) -> bool {
    beginning.eq_ignore_ascii_case("file:")
}

/// The local pictures that a request with these members names, each once.
pub(super) fn named(members: &[Member<'_>], rules: PictureRules<'_>) -> Vec<NamedPicture> {
    let mut named: Vec<NamedPicture> = Vec::new();
    if rules.pictures == LocalPictures::Off {
        return named;
    }
    let is_local = |text: &&str| is_local(text, rules.pictures) || rules.of_defaults.contains(*text);
    for text in media_of(members).into_iter().filter_map(text_of).filter(is_local) {
        if !named.iter().any(|known| known.path == text) {
            named.push(NamedPicture { path: text.to_owned(), found: None });
        }
    }
    named
}

fn is_local(text: &str, pictures: LocalPictures) -> bool {
    links::fault(text) == Some(LinkFault::LocalPath) && path_fault(text, pictures).is_none()
}

/// The values that may name media.
fn media_of<'n, 'a>(members: &'n [Member<'a>]) -> Vec<&'n Node<'a>> {
    let mut found = Vec::new();
    for member in members.iter().filter(|member| MEDIA_KEYS.contains(&&*member.key)) {
        add_items(&member.value, &mut found);
    }
    found
}

/// Those of an object with its `dropreel` member, whose matrix may name media, too.
fn media_of_object<'n, 'a>(node: &'n Node<'a>) -> Vec<&'n Node<'a>> {
    let member = |node: &'n Node<'a>, key: &str| node.members().iter().find(|member| member.key == key);
    let mut found = media_of(node.members());
    if let Some(matrix) = member(node, DROPREEL_KEY).and_then(|own| member(&own.value, MATRIX_KEY)) {
        found.extend(media_of(matrix.value.members()));
    }
    found
}

fn add_items<'n, 'a>(node: &'n Node<'a>, found: &mut Vec<&'n Node<'a>>) {
    match &node.value {
        JsonValue::Array(items) => items.iter().for_each(|item| add_items(item, found)),
        _ => found.push(node),
    }
}

fn text_of<'n>(node: &'n Node<'_>) -> Option<&'n str> {
    match &node.value {
        JsonValue::Text(text) => Some(text),
        _ => None,
    }
}

/// The request or the defaults with the public address, or another name, in place of each path of `addresses`; every other byte
/// stays. `body` is a draft's, or was read as defaults.
pub fn with_addresses(body: &str, addresses: &BTreeMap<String, String>) -> String {
    let mut findings = Findings::new(body, 1);
    let Ok(object) = json::read(body, Form::Document, &mut findings) else { return body.to_owned() };
    replaced(&object, &media_of_object(&object), |path| addresses.get(path).cloned())
}

/// The local pictures that defaults, or a job with its own keys, name.
pub fn named_in_object(text: &str) -> BTreeSet<String> {
    let mut findings = Findings::new(text, 1);
    let Ok(object) = json::read(text, Form::Document, &mut findings) else { return BTreeSet::new() };
    let local = media_of_object(&object).into_iter().filter_map(text_of);
    local.filter(|text| is_local(text, LocalPictures::BesideJobFile)).map(str::to_owned).collect()
}

/// The value of a media key, or of `matrix`, in defaults that are `levels` folders above the job file: paths of pictures begin at
/// the folder of the defaults, and are written from the job file's. Those are added to `paths`.
pub(super) fn moved_paths(
    key: &str,
    value: &str,
    levels: usize,
    paths: &mut BTreeSet<String>,
) -> Option<String> {
    let mut findings = Findings::new(value, 1);
    let node = json::read(value, Form::Document, &mut findings).ok()?;
    let mut media = Vec::new();
    match key {
        MATRIX_KEY => media = media_of(node.members()),
        _ => add_items(&node, &mut media),
    }
    Some(replaced(&node, &media, |path| {
        let moves =
            is_local(path, LocalPictures::BesideJobFile) && PictureContent::of_file_name(path).is_none();
        let moved = moves.then(|| "../".repeat(levels) + path.trim_start_matches("./"))?;
        paths.insert(moved.clone());
        Some(moved)
    }))
}

/// The text of `node` with another text in place of some of those of `nodes`, which are parts of it in their order or not.
fn replaced(
    node: &Node<'_>,
    nodes: &[&Node<'_>],
    mut replacement: impl FnMut(&str) -> Option<String>,
) -> String {
    let mut edits: Vec<_> =
        nodes.iter().filter_map(|part| Some((*part, replacement(text_of(part)?)?))).collect();
    edits.sort_by_key(|(part, _)| part.at);
    let (mut edited, mut at) = (String::with_capacity(node.text.len()), node.at);
    for (part, text) in edits {
        edited.push_str(&node.text[at - node.at..part.at - node.at]);
        edited.push_str(&Value::from(text).to_string());
        at = part.at + part.text.len();
    }
    edited.push_str(&node.text[at - node.at..]);
    edited
}

/// The path from the root that `path` in `folder` leads to; `None` if it leads out of the root.
pub fn path_below(folder: &str, path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &BTreeSet<String> = &BTreeSet::new();

    fn rules(pictures: LocalPictures) -> PictureRules<'static> {
        PictureRules { pictures, of_defaults: NONE }
    }

    #[test]
    fn picture_path_stays_beside_or_below_the_job_file() {
        let usable =
            ["a.png", "./a.png", "pictures/春 天.JPG", "..a.png", "a..b/c.webp", "./frame", "a:b.png"];
        for path in usable.iter().filter(|path| **path != "a:b.png") {
            assert_eq!(fault(path, rules(LocalPictures::BesideJobFile)), None, "{path}");
        }
        let unusable = [
            ("/a.png", "absolute"),
            ("//host/a.png", "absolute"),
            ("~/a.png", "absolute"),
            ("file:///a.png", "absolute"),
            ("C:/a.png", "absolute"),
            ("C:\\a.png", "`\\`"),
            ("pictures\\a.png", "`\\`"),
            ("../a.png", "`..`"),
            ("b/../../a.png", "`..`"),
            ("b//a.png", "not a path"),
            ("a\n.png", "not a path"),
            ("data:image/png;base64,AAAA", "data URI"),
            ("example", "`./a`"),
        ];
        for (path, word) in unusable {
            let fault = fault(path, rules(LocalPictures::BesideJobFile)).expect(path);
            assert!(fault.contains(word), "{path}: {fault}");
        }
    }

    #[test]
    fn path_is_refused_with_the_setting_as_the_way_out() {
        let off = LocalPictures::Off;
        assert!(fault("a.png", rules(off)).is_some_and(|fault| fault.contains("media.serve")));
        assert!(fault_for_any_model("a.png", rules(off)).is_some_and(|fault| fault.contains("media.serve")));
        assert_eq!(fault("https://example.com/a.png", rules(off)), None);
        assert_eq!(fault("../a.png", rules(LocalPictures::HandedOver)), None);
        assert_eq!(fault_for_any_model("ftp://example.com/a.png", rules(LocalPictures::BesideJobFile)), None);
    }

    #[test]
    fn addresses_replace_paths_and_nothing_else() {
        let body = r#"{"n": 1.10, "image_urls": [ "a.png","https://x/b.png", "\u0061.png" ],
            "prompt": "a.png", "first_frame":"c/d.png" , "extra": {"image_urls": ["a.png"]}}"#;
        let addresses = [("a.png", "https://h/1"), ("c/d.png", "https://h/\"2")]
            .map(|(path, address)| (path.to_owned(), address.to_owned()))
            .into();
        let expected = r#"{"n": 1.10, "image_urls": [ "https://h/1","https://x/b.png", "https://h/1" ],
            "prompt": "a.png", "first_frame":"https://h/\"2" , "extra": {"image_urls": ["a.png"]}}"#;
        assert_eq!(with_addresses(body, &addresses), expected);
        assert_eq!(with_addresses("no object", &addresses), "no object");
    }

    #[test]
    fn pictures_of_defaults_above_are_written_from_the_folder_of_the_job() {
        let mut paths = BTreeSet::new();
        let mut moved = |key: &str, value: &str| moved_paths(key, value, 2, &mut paths).unwrap();
        let digest = format!(r#""{}.png""#, "a".repeat(64));
        assert_eq!(moved("first_frame", r#""./a.png""#), r#""../../a.png""#);
        assert_eq!(
            moved("image_urls", r#"[ "b/c.png", "https://x/d.png", "../e.png"]"#),
            r#"[ "../../b/c.png", "https://x/d.png", "../e.png"]"#
        );
        assert_eq!(
            moved("matrix", r#"{"image_urls": [["f.png"], []], "seed": [1]}"#),
            r#"{"image_urls": [["../../f.png"], []], "seed": [1]}"#
        );
        assert_eq!(moved("first_frame", &digest), digest);
        let known = PictureRules { pictures: LocalPictures::BesideJobFile, of_defaults: &paths };
        assert_eq!(fault("../../a.png", known), None);
        assert!(fault("../e.png", known).is_some());

        let text = r#"{"first_frame": "a.png", "prompt": "b.png", "dropreel": {"matrix": {"image_urls": [["c.png"]]}}}"#;
        assert_eq!(named_in_object(text), ["a.png", "c.png"].map(str::to_owned).into());
        for (folder, path, expected) in [
            ("", "a.png", Some("a.png")),
            ("b/c", "./d/a.png", Some("b/c/d/a.png")),
            ("b/c", "../../a.png", Some("a.png")),
            ("b/c", "../../../a.png", None),
        ] {
            assert_eq!(path_below(folder, path).as_deref(), expected);
        }
    }

    #[test]
    fn file_name_has_one_spelling() {
        let content = PictureContent { sha256: "0a".repeat(32), picture_type: PictureType::Webp };
        assert_eq!(PictureContent::of_file_name(&content.file_name()), Some(content.clone()));
        let digest = &content.sha256;
        for name in [
            String::new(),
            digest.clone(),
            format!("{digest}.gif"),
            format!("{digest}.WEBP"),
            format!("{digest}.webp.webp"),
            format!("{}.webp", digest.to_uppercase()),
            format!("{}.webp", &digest[1..]),
        ] {
            assert_eq!(PictureContent::of_file_name(&name), None, "{name}");
        }
    }
}
