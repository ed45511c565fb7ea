//! Errors as documents (S3 API Reference, "REST error responses").

use crate::error::S3Error;
use crate::xml::write::Document;

impl S3Error {
    /// The body of an error answer. HEAD requests and `NotModified` have none.
    pub fn to_xml(&self, resource: &str, request_id: &str, host_id: &str) -> String {
        let mut document = Document::bare("Error");
        document.text("Code", self.code.as_str());
        document.text("Message", &self.message);
        for (element, text) in &self.details {
            document.text(element, text);
        }
        document.text("Resource", resource);
        document.text("RequestId", request_id);
        document.text("HostId", host_id);
        document.finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::error::{ErrorCode, S3Error};

    #[test]
    fn an_error_is_written_as_aws_does() {
        let error = S3Error::from(ErrorCode::NoSuchKey).with("Key", "a<b");
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message>\
            <Key>a&lt;b</Key><Resource>/abc/a&lt;b</Resource><RequestId>4442587FB7D0A2F9</RequestId>\
            <HostId>host</HostId></Error>";
        assert_eq!(
            error.to_xml("/abc/a<b", "4442587FB7D0A2F9", "host"),
            expected
        );
    }
}
