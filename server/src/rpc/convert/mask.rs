//! Update masks: which fields of a resource a call changes.

use prost_types::FieldMask;

use super::field::Violations;

/// Paths of a mask, all of them among those that may be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mask(Vec<String>);

/// Reads a mask of the fields `known`. Each is changed as a whole: a path into one is refused.
pub(super) fn read(proto: Option<FieldMask>, known: &[&str]) -> Result<Mask, Violations> {
    let paths = proto.unwrap_or_default().paths;
    let mut wrong = Violations::default();
    if paths.is_empty() {
        wrong.add("", format!("must name what to change, of {}", known.join(", ")));
    }
    for (index, path) in paths.iter().enumerate() {
        if !known.contains(&path.as_str()) {
            let why = format!("is {path:?}; what can be changed is {}", known.join(", "));
            wrong.add(format!("paths[{index}]"), why);
        }
    }
    wrong.finish(Some(Mask(paths)))
}

impl Mask {
    /// What is to be changed.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// True when `field` is to be changed.
    pub(super) fn has(&self, field: &str) -> bool {
        self.fields().any(|path| path == field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(paths: &[&str]) -> FieldMask {
        FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }
    }

    #[test]
    fn a_mask_names_what_there_is() {
        let read = read(Some(mask(&["priority"])), &["priority", "labels"]).unwrap();
        assert!(read.has("priority") && !read.has("labels"));
    }

    #[test]
    fn what_can_not_be_changed_is_named_with_what_can() {
        for bad in [&["state"][..], &["labels.a"], &["*"]] {
            let wrong = read(Some(mask(bad)), &["priority", "labels"]).unwrap_err();
            assert_eq!(wrong.list()[0].field, "paths[0]");
            let told = wrong.to_string();
            assert!(told.contains(bad[0]) && told.contains("priority, labels"), "{told}");
        }
        assert!(read(Some(mask(&[])), &["priority"]).is_err());
        assert!(read(None, &["priority"]).is_err());
    }
}
