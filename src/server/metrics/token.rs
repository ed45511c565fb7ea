//! The bearer tokens of scrapers, as `mc admin prometheus generate` makes them: a JSON web token
//! (RFC 7519) with HS512, claims `exp`, `sub` (an access key) and `iss`, signed with the secret
//! of that key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::{Value, from_slice};
use sha2::Sha512;

/// The issuer that these tokens name.
const ISSUER: &str = "prometheus";
/// The longest token that is looked at.
const TOKEN_LEN_MAX: usize = 4096;

#[derive(Deserialize)]
struct Claims {
    exp: f64,
    sub: String,
    iss: String,
}

/// The access key that signed a token which is valid at `now`, in seconds since the epoch of Unix.
/// `secret_of` knows the secrets of access keys.
pub(crate) fn verify_token(
    token: &str,
    now: u64,
    secret_of: impl FnOnce(&str) -> Option<String>,
) -> Option<String> {
    if token.len() > TOKEN_LEN_MAX {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let header: Value = from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    if header.get("alg").and_then(Value::as_str) != Some("HS512") {
        return None;
    }
    let claims: Claims = from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let secret = secret_of(&claims.sub)?;
    let mut mac = Hmac::<Sha512>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(signed.as_bytes());
    mac.verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?)
        .ok()?;
    (claims.iss == ISSUER && claims.exp > now as f64).then_some(claims.sub)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str, secret: &str) -> String {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let mut mac = Hmac::<Sha512>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(signed.as_bytes());
        format!(
            "{signed}.{}",
            URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
        )
    }

    fn verify(token: &str) -> Option<String> {
        verify_token(token, 1000, |user| {
            (user == "ann").then(|| "a-long-secret".to_owned())
        })
    }

    const HS512: &str = r#"{"alg":"HS512","typ":"JWT"}"#;
    const GOOD: &str = r#"{"exp":1001,"sub":"ann","iss":"prometheus"}"#;

    #[test]
    fn forged_expired_and_foreign_tokens_are_refused() {
        let table = [
            (HS512, GOOD, "another-secret"),
            (r#"{"alg":"none"}"#, GOOD, "a-long-secret"),
            (r#"{"alg":"HS256"}"#, GOOD, "a-long-secret"),
            (
                HS512,
                r#"{"exp":1000,"sub":"ann","iss":"prometheus"}"#,
                "a-long-secret",
            ),
            (
                HS512,
                r#"{"exp":1001,"sub":"bob","iss":"prometheus"}"#,
                "a-long-secret",
            ),
            (
                HS512,
                r#"{"exp":1001,"sub":"ann","iss":"x"}"#,
                "a-long-secret",
            ),
            (
                HS512,
                r#"{"sub":"ann","iss":"prometheus"}"#,
                "a-long-secret",
            ),
            (HS512, "[]", "a-long-secret"),
        ];
        for (header, claims, secret) in table {
            assert_eq!(
                verify(&token(header, claims, secret)),
                None,
                "{header} {claims} {secret}"
            );
        }
        let good = token(HS512, GOOD, "a-long-secret");
        for bad in [
            "",
            ".",
            "..",
            "a.b.c",
            &good[1..],
            &good[..good.len() - 4],
            &format!("{good}."),
        ] {
            assert_eq!(verify(bad), None, "{bad}");
        }
        assert_eq!(verify(&"a".repeat(5000)), None);
    }

    #[test]
    fn a_token_that_its_user_signed_is_good_until_it_expires() {
        assert_eq!(
            verify(&token(HS512, GOOD, "a-long-secret")).as_deref(),
            Some("ann")
        );
    }

    #[test]
    fn a_token_that_another_program_made_verifies() {
        // Made with Python's hmac and base64 modules.
        let token = concat!(
            "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJleHAiOjQxMDI0NDQ4MDAsInN1YiI6I",
            "m1pbmlvYWRtaW4iLCJpc3MiOiJwcm9tZXRoZXVzIn0.nlCQdl7FB_GeFtDmtYRjQ_UlJYu",
            "Xef6Pqcw-0-2ww2yc9SU2dGrj8CON91BcvXtFMulrvCyfYkRB4mRPs8CMMg",
        );
        let user = verify_token(token, 1000, |_| Some("minioadmin".to_owned()));
        assert_eq!(user.as_deref(), Some("minioadmin"));
    }
}
