//! Source files, and the names that stand in them.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use syn::Attribute;
use syn::ImplItem;
use syn::Item;
use syn::UseTree;
use syn::buffer::Cursor;
use syn::buffer::TokenBuffer;
use syn::visit::Visit;

/// One file of Rust.
pub(crate) struct Source {
    /// Its path below the folder it was read from: `policy/verdict.rs`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// All of it.
    pub(crate) whole: syn::File,
    /// What is compiled into the program: without `#[cfg(test)]`.
    pub(crate) shipped: syn::File,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let whole = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut shipped = whole.clone();
        shipped.items = if is_test(&whole.attrs) {
            Vec::new()
        } else {
            without_tests(shipped.items)
        };
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            whole,
            shipped,
        }
    }

    /// The room it belongs to: `policy` for `policy.rs` and `policy/verdict.rs`.
    pub(crate) fn room(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap_or_default()
    }

    /// Its last component: `verdict.rs`.
    pub(crate) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Where it stands in the tree of modules: `policy`, `verdict`.
    fn module(&self) -> Vec<String> {
        match self.path.as_str() {
            "lib.rs" | "main.rs" => Vec::new(),
            path => path
                .trim_end_matches(".rs")
                .split('/')
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Every path in it, in imports, code, attributes and macros.
    pub(crate) fn names(&self, syntax: &syn::File) -> Vec<Name> {
        let mut names = Names {
            module: self.module(),
            found: Vec::new(),
        };
        names.visit_file(syntax);
        names.found
    }
}

/// Every `.rs` file below `folder` of this package, sorted. Empty where the
/// folder does not exist.
pub(crate) fn sources(folder: &str) -> Vec<Source> {
    let root = package().join(folder);
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let mut sources: Vec<Source> = files
        .iter()
        .map(|file| {
            let path = file.strip_prefix(&root).unwrap().to_str().unwrap();
            Source::new(path, &fs::read_to_string(file).unwrap())
        })
        .collect();
    let tests: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        if tests.iter().any(|module| source.path.starts_with(module)) {
            source.shipped.items.clear();
        }
    }
    sources
}

/// The folder of this package.
pub(crate) fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.ends_with("target") {
            // Of the fuzz targets, where cargo-fuzz built them: none of it is ours.
        } else if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The modules that `#[cfg(test)] mod name;` declares, each as the beginnings of
/// the paths of its files.
fn test_modules(source: &Source) -> Vec<String> {
    let folder: String = source
        .module()
        .iter()
        .map(|part| format!("{part}/"))
        .collect();
    let declared = source.whole.items.iter().filter_map(|item| match item {
        Item::Mod(module) if module.content.is_none() && is_test(&module.attrs) => {
            let path = format!("{folder}{}", module.ident);
            Some([format!("{path}.rs"), format!("{path}/")])
        }
        _ => None,
    });
    declared.flatten().collect()
}

fn without_tests(items: Vec<Item>) -> Vec<Item> {
    let mut kept = Vec::new();
    for mut item in items {
        if is_test(attributes(&item)) {
            continue;
        }
        match &mut item {
            Item::Mod(module) => {
                if let Some((_, inner)) = &mut module.content {
                    *inner = without_tests(std::mem::take(inner));
                }
            }
            Item::Impl(block) => block
                .items
                .retain(|item| !matches!(item, ImplItem::Fn(function) if is_test(&function.attrs))),
            _ => {}
        }
        kept.push(item);
    }
    kept
}

/// Whether `cfg(test)`, or `cfg(all(test, …))`, is among them.
fn is_test(attributes: &[Attribute]) -> bool {
    cfg(attributes).any(|condition| condition == "test" || condition.starts_with("all(test,"))
}

/// The conditions under which something is compiled, without spaces.
pub(crate) fn cfg(attributes: &[Attribute]) -> impl Iterator<Item = String> {
    attributes.iter().filter_map(|attribute| {
        let list = attribute.meta.require_list().ok()?;
        let condition = list.tokens.to_string().replace(' ', "");
        attribute.path().is_ident("cfg").then_some(condition)
    })
}

pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// A path that stands in a file.
#[derive(Debug)]
pub(crate) enum Name {
    /// Below our crate root, however it was written (`crate::`, `super::`).
    Ours(Vec<String>),
    /// Anything else. A macro's name ends in `!`.
    Other(Vec<String>),
}

struct Names {
    module: Vec<String>,
    found: Vec<Name>,
}

impl Names {
    fn note(&mut self, written: &[String]) {
        let Some(first) = written.first() else {
            return;
        };
        let climbed = written.iter().take_while(|part| *part == "super").count();
        let ours = match first.as_str() {
            "crate" | "countersign" => written[1..].to_vec(),
            "self" => [&self.module, &written[1..]].concat(),
            "super" => {
                let kept = self.module.len().saturating_sub(climbed);
                [&self.module[..kept], &written[climbed..]].concat()
            }
            _ => {
                self.found.push(Name::Other(written.to_vec()));
                return;
            }
        };
        self.found.push(Name::Ours(ours));
    }

    fn note_tokens(&mut self, buffer: &TokenBuffer) {
        for run in runs(buffer.begin()) {
            if run.parts.len() > 1 || run.end == End::Bang {
                let mut parts = run.parts;
                if run.end == End::Bang {
                    parts.last_mut().unwrap().push('!');
                }
                self.note(&parts);
            }
        }
    }

    fn note_use(&mut self, before: &[String], tree: &UseTree) {
        let with = |part: String| [before, &[part]].concat();
        match tree {
            UseTree::Path(path) => self.note_use(&with(path.ident.to_string()), &path.tree),
            UseTree::Name(name) => self.note(&with(name.ident.to_string())),
            UseTree::Rename(rename) => self.note(&with(rename.ident.to_string())),
            UseTree::Glob(_) => self.note(&with("*".to_owned())),
            UseTree::Group(group) => group
                .items
                .iter()
                .for_each(|tree| self.note_use(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.module.push(module.ident.to_string());
        syn::visit::visit_item_mod(self, module);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_use(&[], &item.tree);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.note(&[item.ident.to_string()]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        // A single word is a local name, or the `crate` of `pub(crate)`.
        if parts.len() > 1 {
            self.note(&parts);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invoked: &'ast syn::Macro) {
        let mut parts: Vec<String> = invoked
            .path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        parts.last_mut().unwrap().push('!');
        self.note(&parts);
        self.note_tokens(&TokenBuffer::new2(invoked.tokens.clone()));
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.note_tokens(&TokenBuffer::new2(list.tokens.clone()));
        self.visit_path(&list.path);
    }
}

/// What follows a path in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// `!`: it is a macro's name.
    Bang,
    /// `(…)`, `{…}` or `[…]`.
    Group,
    /// Anything else.
    Other,
}

/// A path, or a literal as its only part, as it stands in tokens.
pub(crate) struct Run {
    pub(crate) parts: Vec<String>,
    pub(crate) end: End,
}

/// Every path, word and literal in tokens that nobody parsed (those of a
/// macro), groups included.
pub(crate) fn runs(mut cursor: Cursor<'_>) -> Vec<Run> {
    let mut found = Vec::new();
    while !cursor.eof() {
        if let Some((ident, rest)) = cursor.ident() {
            let mut parts = vec![ident.to_string()];
            cursor = rest;
            while let Some((next, rest)) = after_colons(cursor) {
                parts.push(next);
                cursor = rest;
            }
            found.push(Run {
                parts,
                end: end(cursor),
            });
        } else if let Some((literal, rest)) = cursor.literal() {
            found.push(Run {
                parts: vec![literal.to_string()],
                end: End::Other,
            });
            cursor = rest;
        } else if let Some((inner, _, _, rest)) = cursor.any_group() {
            found.extend(runs(inner));
            cursor = rest;
        } else if let Some((_, rest)) = cursor.token_tree() {
            cursor = rest;
        }
    }
    found
}

fn after_colons(cursor: Cursor<'_>) -> Option<(String, Cursor<'_>)> {
    let (first, rest) = cursor.punct()?;
    let (second, rest) = rest.punct()?;
    let (ident, rest) = rest.ident()?;
    (first.as_char() == ':' && second.as_char() == ':').then(|| (ident.to_string(), rest))
}

fn end(cursor: Cursor<'_>) -> End {
    if cursor.any_group().is_some() {
        End::Group
    } else if cursor
        .punct()
        .is_some_and(|(mark, rest)| mark.as_char() == '!' && rest.any_group().is_some())
    {
        End::Bang
    } else {
        End::Other
    }
}

#[test]
fn a_test_module_in_files_of_its_own_is_test_code() {
    let text = "#[cfg(test)] mod rows; mod engine; #[cfg(test)] mod inner { mod x; }";
    assert_eq!(
        test_modules(&Source::new("policy.rs", text)),
        ["policy/rows.rs", "policy/rows/"]
    );
    assert_eq!(
        test_modules(&Source::new("lib.rs", "#[cfg(all(test, unix))] mod rows;")),
        ["rows.rs", "rows/"]
    );
}
