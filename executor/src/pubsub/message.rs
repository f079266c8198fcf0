//! A message read. Pure.

use std::collections::HashMap;

use bytes::Bytes;
use contract::ids::{NAME_BYTES_MAX, ScriptName, TenantName};
use contract::{Code, Problem};

use super::door::{Delivery, Target};

/// Reads a message; `input_bytes_max` bounds its data. Attributes of others may be there as well.
///
/// # Errors
/// `bad_request` for attributes, `too_large` and `bad_json` for data.
pub(super) fn read(
    message_id: &str,
    attributes: &HashMap<String, String>,
    data: &Bytes,
    input_bytes_max: usize,
) -> Result<Delivery, Box<Problem>> {
    let bad = |detail: String| Box::new(Problem::new(Code::BadRequest, detail));
    let get = |name| attributes.get(name).map(String::as_str);
    let tenant = get("tenant").ok_or_else(|| bad("the message has no attribute `tenant`".to_owned()))?;
    let tenant: TenantName = tenant.parse().map_err(|err| bad(format!("attribute `tenant`: {err}")))?;
    let target = match (get("script"), get("event")) {
        (Some(script), None) => {
            let script: ScriptName = script.parse().map_err(|err| bad(format!("attribute `script`: {err}")))?;
            Target::Script(script)
        }
        (None, Some(event)) if (1..=NAME_BYTES_MAX).contains(&event.len()) => Target::Event(event.to_owned()),
        (None, Some(event)) => {
            let detail = format!("attribute `event` has {} bytes; 1 to {NAME_BYTES_MAX} are allowed", event.len());
            return Err(bad(detail));
        }
        (Some(_), Some(_)) => {
            return Err(bad("the message has attributes `script` and `event`; it can be for one of them".to_owned()));
        }
        (None, None) => return Err(bad("the message has neither an attribute `script` nor `event`".to_owned())),
    };
    if data.len() > input_bytes_max {
        let detail = format!("the data may have {input_bytes_max} bytes, this message has {}", data.len());
        return Err(Problem::new(Code::TooLarge, detail).into());
    }
    if let Err(err) = std::str::from_utf8(data) {
        return Err(Problem::new(Code::BadJson, format!("the data is not UTF-8: {err}")).into());
    }
    Ok(Delivery { message_id: message_id.to_owned(), tenant, target, input: data.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(attributes: &[(&str, &str)], data: &'static [u8]) -> Result<Delivery, Box<Problem>> {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        read("17", &attributes, &Bytes::from_static(data), 10)
    }

    #[test]
    fn attributes_name_a_script_or_an_event() {
        let run = of(&[("tenant", "acme"), ("script", "risk"), ("googclient_x", "y")], b"{}").unwrap();
        assert_eq!((run.tenant.as_str(), run.target), ("acme", Target::Script("risk".parse().unwrap())));
        assert_eq!((run.message_id.as_str(), &run.input[..]), ("17", &b"{}"[..]));

        let event = of(&[("tenant", "acme"), ("event", "order.created")], b"").unwrap();
        assert_eq!(event.target, Target::Event("order.created".to_owned()));
    }

    #[test]
    fn a_message_that_nobody_can_run_says_why() {
        let long = "x".repeat(65);
        let refused = [
            of(&[], b""),
            of(&[("tenant", "acme")], b""),
            of(&[("tenant", "acme"), ("script", "a"), ("event", "b")], b""),
            of(&[("tenant", "../x"), ("script", "a")], b""),
            of(&[("tenant", "acme"), ("script", "a/b")], b""),
            of(&[("tenant", "acme"), ("event", "")], b""),
            of(&[("tenant", "acme"), ("event", &long)], b""),
            of(&[("tenant", "acme"), ("script", "a")], b"12345678901"),
            of(&[("tenant", "acme"), ("script", "a")], b"\"\xff\""),
        ]
        .map(|refused| refused.expect_err("the message should be refused"))
        .map(|problem| format!("{}: {}", problem.code, problem.detail));

        insta::assert_snapshot!(refused.join("\n"), @"
        bad_request: the message has no attribute `tenant`
        bad_request: the message has neither an attribute `script` nor `event`
        bad_request: the message has attributes `script` and `event`; it can be for one of them
        bad_request: attribute `tenant`: tenant name `../x` has '.' at position 1; names are letters, digits, `.`, `_`, `-`, and start with a letter or digit
        bad_request: attribute `script`: script name `a/b` has '/' at position 2; names are letters, digits, `.`, `_`, `-`, and start with a letter or digit
        bad_request: attribute `event` has 0 bytes; 1 to 64 are allowed
        bad_request: attribute `event` has 65 bytes; 1 to 64 are allowed
        too_large: the data may have 10 bytes, this message has 11
        bad_json: the data is not UTF-8: invalid utf-8 sequence of 1 bytes from index 1
        ");
    }
}
