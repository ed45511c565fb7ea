//! Header fields as text.

use http::HeaderMap;

use crate::error::S3Error;

/// The field's value, or `None`. Several lines are one list (RFC 9110, section 5.3). Bytes that
/// are not UTF-8 are refused.
pub(crate) fn text_of(headers: &HeaderMap, name: &str) -> Result<Option<String>, S3Error> {
    let mut text: Option<String> = None;
    for value in headers.get_all(name) {
        let line = std::str::from_utf8(value.as_bytes())
            .map_err(|_| S3Error::argument(name, "", "A header value is not UTF-8"))?;
        match &mut text {
            None => text = Some(line.to_owned()),
            Some(text) => {
                text.push(',');
                text.push_str(line);
            }
        }
    }
    Ok(text)
}

/// The field's value, unless it is missing or empty.
pub(crate) fn filled(headers: &HeaderMap, name: &str) -> Result<Option<String>, S3Error> {
    Ok(text_of(headers, name)?.filter(|text| !text.is_empty()))
}

/// A count of bytes such as `x-amz-decoded-content-length`.
pub(crate) fn length(headers: &HeaderMap, name: &str) -> Result<Option<u64>, S3Error> {
    let Some(text) = text_of(headers, name)? else {
        return Ok(None);
    };
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(S3Error::argument(
            name,
            &text,
            "A length is a decimal number",
        ));
    }
    text.parse()
        .map(Some)
        .map_err(|_| S3Error::argument(name, &text, "A length is below 2^64"))
}
