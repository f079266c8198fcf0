//! Query parameters of the JSON APIs, read strictly: a value that can't be read and a name that nobody knows are refused,
//! since a misspelt `ifGenerationMatch` must not become an unconditional write.

use std::collections::BTreeMap;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// Parameters that every Google API takes; the local cloud answers in full whatever they say.
/// <https://cloud.google.com/apis/docs/system-parameters>
const SYSTEM: [&str; 19] = [
    "$.xgafv",
    "$alt",
    "$apiVersion",
    "$callback",
    "$fields",
    "$key",
    "$prettyPrint",
    "$unique",
    "access_token",
    "alt",
    "fields",
    "key",
    "prettyPrint",
    "projection",
    "quotaUser",
    "uploadType",
    "upload_protocol",
    "userIp",
    "userProject",
];

/// Why the parameters are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParameterError {
    #[error("Invalid value for query parameter '{name}': '{value}'")]
    Value { name: String, value: String },
    #[error("Unknown query parameter '{name}'")]
    Unknown { name: String },
}

/// The parameters of one request; each is taken out when it is read.
#[derive(Debug, Default)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decode(k), decode(v))).collect(),
        )
    }

    /// Looks without taking.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    pub(super) fn value<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, ParameterError> {
        let Some(value) = self.text(name) else { return Ok(None) };
        let read = value.parse();
        read.map(Some).map_err(|_| ParameterError::Value { name: name.to_owned(), value })
    }

    /// `true`, `false`, or absent, which is `false`.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, ParameterError> {
        let value = self.text(name).unwrap_or_default();
        match value.to_ascii_lowercase().as_str() {
            "" | "false" => Ok(false),
            "true" => Ok(true),
            _ => Err(ParameterError::Value { name: name.to_owned(), value }),
        }
    }

    /// To be called when all known parameters were taken.
    pub(super) fn finish(self) -> Result<(), ParameterError> {
        match self.0.into_keys().find(|name| !SYSTEM.contains(&name.as_str())) {
            Some(name) => Err(ParameterError::Unknown { name }),
            None => Ok(()),
        }
    }
}

/// The parts of a path behind a prefix, each decoded on its own: `%2F` in an object's name parts nothing.
pub(super) fn path_parts(path: &str) -> Vec<String> {
    path.split('/').map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect()
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        let mut parameters = Parameters::parse(Some("name=a%2Fb+c&ifGenerationMatch=0&versions=true"));

        assert_eq!(parameters.text("name").as_deref(), Some("a/b c"));
        assert_eq!(parameters.value::<i64>("ifGenerationMatch"), Ok(Some(0)));
        assert_eq!(parameters.flag("versions"), Ok(true));
        assert_eq!(parameters.finish(), Ok(()));
    }

    #[test]
    fn a_misspelt_condition_is_refused() {
        let parameters = Parameters::parse(Some("alt=json&ifGenerationMatches=0"));

        assert_eq!(parameters.finish(), Err(ParameterError::Unknown { name: "ifGenerationMatches".into() }));
    }

    #[test]
    fn a_condition_that_is_no_number_is_refused() {
        let mut parameters = Parameters::parse(Some("ifGenerationMatch=first"));

        assert!(parameters.value::<i64>("ifGenerationMatch").is_err());
    }
}
