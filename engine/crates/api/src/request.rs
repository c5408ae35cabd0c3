//! What comes in: query parameters and JSON bodies by Docker's rules.

use std::collections::HashMap;

use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, header::CONTENT_TYPE, request::Parts},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{error::ApiError, version::ApiVersion};

/// The largest JSON body, in bytes (CVE-2017-14992: an endless one must not fill the memory).
const LARGEST_BODY: usize = 8 << 20;

/// The version that the client speaks.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub ApiVersion);

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(parts
            .extensions
            .get::<Self>()
            .copied()
            .unwrap_or(Self(ApiVersion::NEWEST)))
    }
}

/// The query of a request.
#[derive(Debug, Default)]
pub struct Params(HashMap<String, Vec<String>>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_str(query).map_err(|error| ApiError::invalid(error.to_string()))?;
        let mut values = HashMap::<_, Vec<_>>::new();
        for (name, value) in pairs {
            values.entry(name).or_default().push(value);
        }
        Ok(Self(values))
    }
}

impl Params {
    /// A parameter; `None` where it is missing or empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.all(name)
            .first()
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    /// All values of a parameter that may be repeated.
    pub fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Docker's truth: anything but nothing, `0`, `no`, `false` and `none`.
    pub fn flag(&self, name: &str) -> bool {
        let text = self.text(name).unwrap_or_default().trim().to_ascii_lowercase();
        !matches!(text.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A number; a text that is none is refused.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| ApiError::invalid(format!("invalid value {text:?} for {name}")))
        };
        self.text(name).map(parse).transpose()
    }
}

/// A JSON body. Members that are null are as good as missing, as in Go.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = to_bytes(body, LARGEST_BODY)
            .await
            .map_err(|error| ApiError::invalid(error.to_string()))?;
        if bytes.is_empty() {
            return Err(ApiError::invalid("invalid JSON: got EOF while reading request body"));
        }
        check_content_type(&parts.headers)?;
        parse(&bytes).map(Body)
    }
}

/// A JSON body that may be missing.
#[derive(Debug)]
pub struct OptionalBody<T>(pub T);

impl<S: Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = to_bytes(body, LARGEST_BODY)
            .await
            .map_err(|error| ApiError::invalid(error.to_string()))?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        let request = Request::from_parts(parts, bytes.into());
        Body::from_request(request, state).await.map(|Body(value)| Self(value))
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let text = format!("unsupported Content-Type header ({given}): must be 'application/json'");
    Err(ApiError::invalid(text))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let invalid = |error: serde_json::Error| {
        // Go's words for a body that was cut.
        let reason = if error.is_eof() {
            "unexpected EOF".to_owned()
        } else {
            error.to_string()
        };
        ApiError::invalid(format!("invalid JSON: {reason}"))
    };
    let mut value: Value = serde_json::from_slice(bytes).map_err(invalid)?;
    drop_nulls(&mut value);
    serde_json::from_value(value).map_err(invalid)
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// `filters`: `{"status":["running"]}`, or the older `{"status":{"running":true}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(std::collections::BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads the parameter and refuses keys that are not among the known ones.
    pub fn read(params: &Params, known: &[&str]) -> Result<Self, ApiError> {
        let Some(text) = params.text("filters") else {
            return Ok(Self::default());
        };
        let filters = Self::parse(text).ok_or_else(|| ApiError::invalid(format!("invalid filter: {text}")))?;
        match filters.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(unknown) => Err(ApiError::invalid(format!("invalid filter '{unknown}'"))),
            None => Ok(filters),
        }
    }

    /// Filters from well-formed JSON.
    #[cfg(test)]
    pub fn from_json(text: &str) -> Self {
        Self::parse(text).unwrap()
    }

    fn parse(text: &str) -> Option<Self> {
        let Value::Object(members) = serde_json::from_str(text).ok()? else {
            return None;
        };
        let values = |value: Value| match value {
            Value::Array(items) => items.into_iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            Value::Object(set) => {
                let chosen = set.into_iter().filter(|(_, on)| *on == Value::Bool(true));
                Some(chosen.map(|(value, _)| value).collect::<Vec<_>>())
            }
            _ => None,
        };
        let pairs = members.into_iter().map(|(key, value)| Some((key, values(value)?)));
        pairs.collect::<Option<_>>().map(Self)
    }

    /// The values of a key; empty where it does not filter.
    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether no value is given, or one of them passes.
    pub fn any(&self, key: &str, passes: impl Fn(&str) -> bool) -> bool {
        let values = self.values(key);
        values.is_empty() || values.iter().any(|value| passes(value))
    }

    /// Whether all `label` values (`key` or `key=value`) are among these labels.
    pub fn labels_match(&self, labels: &std::collections::BTreeMap<String, String>) -> bool {
        self.values("label").iter().all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|own| own == value),
            None => labels.contains_key(wanted),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()]))
                .collect(),
        )
    }

    #[test]
    fn flags_are_true_by_dockers_rule() {
        let params = params(&[
            ("a", "1"),
            ("b", "0"),
            ("c", "False"),
            ("d", ""),
            ("e", "yes"),
            ("f", "none"),
        ]);
        let flags = ["a", "b", "c", "d", "e", "f", "g"].map(|name| params.flag(name));
        assert_eq!(flags, [true, false, false, false, true, false, false]);
    }

    #[test]
    fn both_forms_of_filters_are_read_and_unknown_keys_refused() {
        let read = |text| Filters::read(&params(&[("filters", text)]), &["status", "label"]);
        let expected = read(r#"{"status":["running"]}"#).unwrap();
        assert_eq!(read(r#"{"status":{"running":true,"exited":false}}"#).unwrap(), expected);
        assert_eq!(read(r#"{"nope":["x"]}"#).unwrap_err().message, "invalid filter 'nope'");
        for bad in ["[", "[]", r#"{"status":1}"#, r#"{"status":[1]}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nulls_are_as_good_as_missing() {
        let value: std::collections::BTreeMap<String, u8> = parse(br#"{"a":1,"b":null}"#).unwrap();
        assert_eq!(value.len(), 1);
        assert!(parse::<Value>(b"{").unwrap_err().message.ends_with("unexpected EOF"));
    }
}
