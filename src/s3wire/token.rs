//! Continuation tokens: where a page ended, in a form that clients pass on untouched.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::S3Error;

/// The token for a page that ended with this key, common prefix or bucket name.
pub fn continuation_token(position: &str) -> String {
    URL_SAFE_NO_PAD.encode(position)
}

/// The inverse of [`continuation_token`].
pub(crate) fn token_position(token: &str) -> Result<String, S3Error> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| {
            let message = "The continuation token provided is incorrect";
            S3Error::argument("continuation-token", token, message)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_junk_is_refused() {
        for position in ["a", "a/b+c", "ü\u{1}"] {
            let token = continuation_token(position);
            assert_eq!(token_position(&token).as_deref(), Ok(position));
        }
        for bad in ["!", "a", "_w"] {
            assert!(token_position(bad).is_err(), "{bad}");
        }
    }
}
