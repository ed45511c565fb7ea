//! Tag sets as documents (S3 API Reference, `PutObjectTagging`, `PutBucketTagging`).

use crate::error::S3Error;
use crate::tags::{TagSet, Tagged};
use crate::xml::read::Element;
use crate::xml::write::Document;

/// Fifty tags of the longest kind, every character a reference, fit.
const BODY_MAX: usize = 256 << 10;

/// The answer to `GetObjectTagging` and `GetBucketTagging`.
pub fn tagging(tags: &TagSet) -> String {
    let mut document = Document::new("Tagging");
    document.within("TagSet", |d| {
        for (key, value) in tags.pairs() {
            d.within("Tag", |d| {
                d.text("Key", key);
                d.text("Value", value);
            });
        }
    });
    document.finish()
}

/// Reads the body of `PutObjectTagging` or `PutBucketTagging`.
pub fn parse_tagging(body: &[u8], of: Tagged) -> Result<TagSet, S3Error> {
    let root = Element::parse(body, "Tagging", BODY_MAX)?;
    root.only(&["TagSet"])?;
    let set = root.needed("TagSet")?;
    set.only(&["Tag"])?;
    let mut pairs = Vec::new();
    for tag in &set.children {
        tag.only(&["Key", "Value"])?;
        let key = tag.needed("Key")?.exact()?.to_owned();
        pairs.push((key, tag.needed("Value")?.exact()?.to_owned()));
    }
    TagSet::new(pairs, of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    fn code(inner: &str) -> Result<usize, ErrorCode> {
        let body = format!("<Tagging><TagSet>{inner}</TagSet></Tagging>");
        parse_tagging(body.as_bytes(), Tagged::Object)
            .map(|tags| tags.len())
            .map_err(|e| e.code)
    }

    #[test]
    fn odd_tags_are_refused() {
        assert_eq!(
            code("<Tag><Key>a</Key></Tag>"),
            Err(ErrorCode::MalformedXML)
        );
        assert_eq!(code("<X/>"), Err(ErrorCode::MalformedXML));
        let twice = "<Tag><Key>a</Key><Value/></Tag>".repeat(2);
        assert_eq!(code(&twice), Err(ErrorCode::InvalidTag));
        let many: String = (0..11)
            .map(|n| format!("<Tag><Key>{n}</Key><Value/></Tag>"))
            .collect();
        assert_eq!(code(&many), Err(ErrorCode::BadRequest));
        let rootless = parse_tagging(b"<Tagging/>", Tagged::Object).map_err(|e| e.code);
        assert_eq!(rootless, Err(ErrorCode::MalformedXML));
    }

    #[test]
    fn tags_round_trip() {
        let pairs = vec![
            ("a<".to_owned(), " &".to_owned()),
            ("b".to_owned(), String::new()),
        ];
        let tags = TagSet::new(pairs, Tagged::Bucket).unwrap();
        let text = tagging(&tags);
        assert_eq!(parse_tagging(text.as_bytes(), Tagged::Bucket), Ok(tags));
        assert_eq!(code(""), Ok(0));
    }
}
