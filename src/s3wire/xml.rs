//! S3's documents: answers are written, bodies are read. One file per family.

mod acl;
mod attributes;
mod bucket;
mod copy;
mod delete;
mod error;
mod list;
mod multipart;
mod read;
mod tagging;
mod versions;
mod write;

pub use acl::{access_control_policy, parse_acl};
pub use attributes::{ObjectAttributes, object_attributes};
pub use bucket::{
    ListedBucket, Versioning, bucket_list, location_constraint, parse_create_bucket,
    parse_versioning, versioning_configuration,
};
pub use copy::{copy_object_result, copy_part_result};
pub use delete::{
    Delete, DeleteEntry, DeleteOutcome, Deleted, ObjectToDelete, delete_result, parse_delete,
};
pub use list::{ListedObject, Page, object_list, object_list_v2};
pub use multipart::{
    Completed, CompletedPart, ListedPart, ListedUpload, UploadDescription, complete_result,
    initiate_result, parse_complete, part_list, upload_list,
};
pub use tagging::{parse_tagging, tagging};
pub use versions::{ListedVersion, VersionKind, version_list};
pub(crate) use write::Document;

/// Whom everything belongs to, as documents name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The canonical user id.
    pub id: String,
    /// The name for people.
    pub display_name: String,
}

impl Owner {
    fn write(&self, document: &mut Document, element: &str) {
        document.within(element, |d| self.write_fields(d));
    }

    fn write_fields(&self, document: &mut Document) {
        document.text("ID", &self.id);
        document.text("DisplayName", &self.display_name);
    }
}
