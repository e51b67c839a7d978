//! The local pictures of job files that the command line reads: found as the inbox finds them, and handed over to the daemon by
//! their content.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::client::{ApiClient, DefaultsArg, PictureNames};
use crate::cli::exit::CliError;
use crate::cli::format::printable;
use crate::daemon::pipeline::inbox_limits;
use crate::fs::{FsError, open_file_below};
use crate::jobfile::pictures::{PictureContent, named_in_object, path_below, with_addresses};
use crate::jobfile::{
    Defaults, DefaultsFile, Draft, Form, Inspection, JobFileReader, MAX_PROBLEMS, ObjectPlace, Problem,
    quoted,
};
use crate::pictures::{PictureError, add_warnings, describe, read_whole, warnings};
use crate::rng::Rng;
use crate::settings::Settings;
use crate::store::pictures::MAX_WAITING_BYTES;

/// The pictures that a command hands over.
pub(crate) struct HandOver {
    /// Reads job files as the inbox does.
    pub reader: JobFileReader,
    is_served: bool,
    /// Where the picture of each name was found.
    files: BTreeMap<String, PathBuf>,
    uploaded: BTreeSet<String>,
}

/// The pictures of one job file.
pub(crate) struct FilePictures<'h> {
    hand_over: &'h mut HandOver,
    /// Nothing outside of it is opened.
    root: PathBuf,
    /// The job file's folder below the root.
    folder: String,
    found: BTreeMap<String, Option<Found>>,
}

/// Why a picture cannot be used.
struct Fault {
    why: String,
    is_missing: bool,
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Self { why, is_missing: false }
    }
}

/// A picture that was found.
struct Found {
    /// By its content.
    name: String,
    warnings: Vec<String>,
}

impl HandOver {
    pub fn new(settings: &Settings) -> Self {
        Self {
            reader: JobFileReader::new(inbox_limits(settings), Rng::from_system()),
            is_served: settings.media.serve,
            files: BTreeMap::new(),
            uploaded: BTreeSet::new(),
        }
    }

    /// The pictures of a job file in a folder below `root`.
    pub fn of_file(&mut self, root: PathBuf, folder: String) -> FilePictures<'_> {
        FilePictures { hand_over: self, root, folder, found: BTreeMap::new() }
    }

    /// Reads the file of `--defaults`. The pictures that it names lie beside it; jobs call them by their content.
    pub fn read_defaults(&mut self, file: &Path) -> Result<DefaultsArg, CliError> {
        let mut defaults = DefaultsArg::read(file)?;
        let Ok(text) = String::from_utf8(defaults.bytes.clone()) else { return Ok(defaults) };
        if self.is_served {
            let mut names = PictureNames::new();
            let mut pictures = self.of_file(folder_of(file), String::new());
            for path in named_in_object(&text) {
                let found = pictures.find(&path).map_err(|fault| {
                    CliError::failed(format!(
                        "{}: the picture {} {}",
                        defaults.name,
                        quoted(&path),
                        fault.why
                    ))
                })?;
                names.extend(found.map(|found| (path, found.name)));
            }
            defaults.bytes = with_addresses(&text, &names).into_bytes();
        }
        Ok(defaults)
    }

    /// Uploads the pictures that requests name by their paths from the current folder. What is not there may be a picture of the
    /// old job.
    pub async fn upload_named_in<'t>(
        &mut self,
        client: &ApiClient,
        requests: impl IntoIterator<Item = &'t str>,
    ) -> Result<PictureNames, CliError> {
        let mut names = PictureNames::new();
        if !self.is_served {
            return Ok(names);
        }
        let paths: BTreeSet<String> = requests.into_iter().flat_map(named_in_object).collect();
        let mut pictures = self.of_file(PathBuf::from("."), String::new());
        for path in paths {
            match pictures.find(&path) {
                Ok(found) => names.extend(found.map(|found| (path, found.name))),
                Err(fault) if fault.is_missing => {}
                Err(fault) => {
                    return Err(CliError::failed(format!("the picture {} {}", quoted(&path), fault.why)));
                }
            }
        }
        self.upload(client, &names).await?;
        Ok(names)
    }

    /// The names of the pictures of a job file in memory. If one cannot be used, the error lists all that is wrong with the
    /// file; anything else is for the daemon to say.
    pub fn names_in(
        &mut self,
        bytes: &[u8],
        form: Form,
        folder: PathBuf,
        defaults: Option<&DefaultsArg>,
    ) -> Result<PictureNames, Vec<Problem>> {
        if !self.is_served {
            return Ok(PictureNames::new());
        }
        let mut reader = self.reader.clone();
        if let Some(DefaultsArg { name, bytes }) = defaults
            && let Ok(file) = DefaultsFile::read(name, bytes)
        {
            reader = reader.with_defaults(Arc::new(Defaults::new("", [&file])));
        }
        let mut pictures = self.of_file(folder, String::new());
        let mut problems = Vec::new();
        let examine = |draft: &mut Draft| problems.extend(pictures.examine(draft));
        let mut found = match form {
            Form::Document => Inspection::of_document(&reader, bytes, "", examine),
            form => Inspection::of_lines(&reader, form, bytes, "", examine).unwrap_or_default(),
        };
        if problems.is_empty() {
            return Ok(pictures.names());
        }
        found.errors.append(&mut problems);
        found.errors.sort_by_key(|problem| problem.line);
        found.errors.truncate(MAX_PROBLEMS);
        Err(found.errors)
    }

    /// Uploads those of these pictures that this command has not uploaded yet.
    pub async fn upload(&mut self, client: &ApiClient, names: &PictureNames) -> Result<(), CliError> {
        let new: BTreeSet<&String> = names.values().filter(|name| !self.uploaded.contains(*name)).collect();
        let paths = new.into_iter().filter_map(|name| self.files.get(name));
        let bytes = paths.filter_map(|path| Some(path.metadata().ok()?.len())).sum();
        check_total(bytes).map_err(CliError::failed)?;
        for name in names.values() {
            let Some(path) = self.files.get(name).filter(|_| !self.uploaded.contains(name)) else { continue };
            let shown = printable(&path.display().to_string());
            let failed = |why: String| CliError::failed(format!("the picture {shown} {why}"));
            let file = File::open(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
            let bytes = read_whole(file, path).map_err(|error| failed(error.to_string()))?;
            if describe(&bytes).ok().map(|picture| picture.content.file_name()).as_ref() != Some(name) {
                return Err(failed("was changed while the command ran: run it again".to_owned()));
            }
            client.upload_picture(bytes).await?;
            self.uploaded.insert(name.clone());
        }
        Ok(())
    }
}

impl FilePictures<'_> {
    /// What is wrong with the pictures of a draft, each named once; what models would refuse is added to its warnings.
    pub fn examine(&mut self, draft: &mut Draft) -> Vec<Problem> {
        let paths: Vec<String> = draft.pictures.iter().map(|picture| picture.path.clone()).collect();
        let mut problems = Vec::new();
        for path in paths {
            if !self.found.contains_key(&path) {
                let found = self.find(&path).unwrap_or_else(|fault| {
                    let ObjectPlace { pointer, line } = draft.place.clone();
                    let message = format!("the picture {} {}", quoted(&path), fault.why);
                    problems.push(Problem { pointer, message, line: line.max(1), column: 1 });
                    None
                });
                self.found.insert(path.clone(), found);
            }
            if let Some(Some(found)) = self.found.get(&path) {
                add_warnings(draft, &path, &found.warnings);
            }
        }
        problems
    }

    /// The names of those that were found, by their paths in the job file.
    pub fn names(self) -> PictureNames {
        let found = self.found.into_iter();
        found.filter_map(|(path, found)| found.map(|found| (path, found.name))).collect()
    }

    /// `None`: it is named by its content, and may have been uploaded before.
    fn find(&mut self, path: &str) -> Result<Option<Found>, Fault> {
        let outside = || "is outside the folder of its job file".to_owned();
        let below = path_below(&self.folder, path).ok_or_else(outside)?;
        let place = self.root.join(&below);
        let file = match open_file_below(&self.root, Path::new(&below)) {
            Ok(file) => file,
            Err(FsError::NotFound(_)) if PictureContent::of_file_name(path).is_some() => {
                let is_known = self.hand_over.files.contains_key(path);
                return Ok(is_known.then(|| Found { name: path.to_owned(), warnings: Vec::new() }));
            }
            Err(FsError::NotFound(_)) => {
                let why = format!("is not there: {} is missing", place.display());
                return Err(Fault { why, is_missing: true });
            }
            Err(FsError::NotRegular { kind, .. }) => {
                return Err(format!("is a {kind}, which dropreel does not open").into());
            }
            Err(error) => return Err(format!("cannot be opened: {error}").into()),
        };
        let kept = read_whole(file, &place).and_then(|bytes| describe(&bytes));
        let kept = kept.map_err(|error| match error {
            PictureError::File(error) => format!("cannot be read: {error}"),
            error => error.to_string(),
        })?;
        let name = kept.content.file_name();
        self.hand_over.files.insert(name.clone(), place);
        Ok(Some(Found { name, warnings: warnings(&kept) }))
    }
}

/// More would be removed again before their jobs name them.
fn check_total(bytes: u64) -> Result<(), String> {
    if bytes <= MAX_WAITING_BYTES {
        return Ok(());
    }
    let (found, kept) = (bytes as f64 / f64::from(1 << 30), MAX_WAITING_BYTES >> 30);
    Err(format!(
        "the pictures of one job file have {found:.1} GiB together, and the daemon keeps {kept} GiB for jobs to come: split \
         the job file, or drop it into the inbox with its pictures"
    ))
}

/// The folder of a file; that of standard input is the current one.
pub(crate) fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_one_job_file_that_would_not_be_kept_are_refused() {
        assert_eq!(check_total(MAX_WAITING_BYTES), Ok(()));
        let why = check_total(MAX_WAITING_BYTES + (1 << 29)).unwrap_err();
        assert!(why.contains("4.5 GiB together") && why.contains("split the job file"), "{why}");
    }
}
