//! The sources under `src`, and what each file names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// A file of `src`, without the `tests.rs` files.
pub struct SourceFile {
    /// Below `src`.
    pub path: PathBuf,
    pub text: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` (relative to the repository) whose name ends in one of `endings`.
pub fn files_below(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut folders = vec![root().join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "node_modules" && name != "target" {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

pub fn files() -> Vec<SourceFile> {
    let src = root().join("src");
    files_below("src", &[".rs"])
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs") && !path.iter().any(|part| part == "tests"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a source file");
            SourceFile { path: path.strip_prefix(src.as_path()).expect("below src").to_owned(), text }
        })
        .collect()
}

impl SourceFile {
    /// The module path: `["stages", "intake", "watch"]` for `stages/intake/watch.rs`.
    pub fn module_path(&self) -> Vec<String> {
        let without_ending = self.path.with_extension("");
        let mut parts: Vec<String> =
            without_ending.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
            parts.pop();
        }
        parts
    }

    /// The top-level module; `lib` for the crate root.
    pub fn module(&self) -> String {
        self.module_path().into_iter().next().unwrap_or_else(|| "lib".to_owned())
    }

    /// Lines of code before the unit tests, without comments.
    pub fn code_lines(&self) -> impl Iterator<Item = &str> {
        self.text
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .filter(|line| !line.trim_start().starts_with("//"))
    }

    pub fn parsed(&self) -> syn::File {
        syn::parse_file(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.path.display()))
    }

    /// Every `crate::a::b` that the file names outside of its tests, as `["a", "b"]`.
    pub fn crate_paths(&self) -> BTreeSet<Vec<String>> {
        let mut paths = CratePaths::default();
        paths.visit_file(&self.parsed());
        paths.0
    }
}

pub fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

#[derive(Default)]
struct CratePaths(BTreeSet<Vec<String>>);

impl CratePaths {
    fn add_use(&mut self, prefix: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| {
            let mut path = prefix.to_vec();
            path.push(name.to_string());
            path
        };
        match tree {
            syn::UseTree::Path(path) => self.add_use(&with(&path.ident), &path.tree),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.add_use(prefix, item)),
            syn::UseTree::Name(name) if name.ident == "self" => self.add(prefix.to_vec()),
            syn::UseTree::Name(name) => self.add(with(&name.ident)),
            syn::UseTree::Rename(rename) => self.add(with(&rename.ident)),
            syn::UseTree::Glob(_) => self.add(prefix.to_vec()),
        }
    }

    fn add(&mut self, path: Vec<String>) {
        if path.first().is_some_and(|first| first == "crate") && path.len() > 1 {
            self.0.insert(path[1..].to_vec());
        }
    }
}

impl<'ast> Visit<'ast> for CratePaths {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            _ => return syn::visit::visit_item(self, item),
        };
        if !is_test(attributes) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_test(&function.attrs) {
            syn::visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }

    /// Macro bodies are not parsed; their tokens still show the paths.
    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        for rest in item.tokens.to_string().replace(' ', "").split("crate::").skip(1) {
            let end =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            let path = rest[..end].split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
            self.0.insert(path);
        }
    }
}
