//! One name, one type: a reader who searches for a type finds one definition.

use std::collections::BTreeMap;

use crate::source;

fn public_types(items: &[syn::Item], names: &mut Vec<String>) {
    for item in items {
        let (visibility, name) = match item {
            syn::Item::Struct(item) => (&item.vis, &item.ident),
            syn::Item::Enum(item) => (&item.vis, &item.ident),
            syn::Item::Trait(item) => (&item.vis, &item.ident),
            syn::Item::Type(item) => (&item.vis, &item.ident),
            syn::Item::Union(item) => (&item.vis, &item.ident),
            syn::Item::Mod(item) if !source::is_test(&item.attrs) => {
                if let Some((_, items)) = &item.content {
                    public_types(items, names);
                }
                continue;
            }
            _ => continue,
        };
        if matches!(visibility, syn::Visibility::Public(_)) {
            names.push(name.to_string());
        }
    }
}

#[test]
fn public_type_names_are_unique() {
    let mut homes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in source::files() {
        let mut names = Vec::new();
        public_types(&file.parsed().items, &mut names);
        for name in names {
            homes.entry(name).or_default().push(file.path.display().to_string());
        }
    }
    assert!(homes.len() > 100, "only {} public types found: does the test still read them?", homes.len());
    let twice: Vec<String> = homes
        .iter()
        .filter(|(_, files)| files.len() > 1)
        .map(|(name, files)| format!("{name}: {}", files.join(", ")))
        .collect();
    assert!(twice.is_empty(), "public types that share a name:\n{}", twice.join("\n"));
}
