//! `moonswarm call`: one execution on an executor, as any caller would ask for it.

use std::time::{Duration, Instant};

use contract::api::{HEADER_EXECUTION, HEADER_RELEASE, HEADER_VERSION};
use reqwest::Method;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::blame::Deed;
use crate::cli::{self, Globals};
use crate::client::{Answer, Client, ClientError, Request};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::files;
use crate::output::{self, Output};
use crate::settings;

/// What `call --json` prints: the answer and who gave it.
#[derive(Debug, Serialize)]
struct Called<'a> {
    output: &'a RawValue,
    release: Option<u64>,
    version: Option<&'a str>,
    execution_id: Option<&'a str>,
    elapsed_ms: f64,
}

/// `moonswarm call`: the answer on stdout as it came.
pub(crate) async fn call(globals: &Globals, call: &cli::Call, output: Output) -> Result<Exit, Failure> {
    let (tenant, script) = (&call.named.tenant.tenant, &call.named.script);
    let endpoint = settings::executor(globals, call)?;
    let input = match &call.input {
        Some(path) => files::named("input", path)?,
        None => Vec::new(),
    };
    let doing = format!("call `{tenant}/{script}`");
    let deed = Deed { doing: &doing, endpoint: &endpoint, look: None };

    let client = Client::new(endpoint.clone()).map_err(|err| deed.failed(err))?;
    let path = ["v1", "run", tenant.as_str(), script.as_str()];
    let request = Request { body: Some(("application/json", input)), ..Request::new(Method::POST, &path) };
    let start = Instant::now();
    let answer = client.ask(request).await.map_err(|err| deed.failed(err))?;
    let elapsed = start.elapsed();

    let result: Box<RawValue> = answer.json().map_err(|err: ClientError| deed.failed(err))?;
    if output.json {
        output.result("", &called(&answer, &result, elapsed))?;
        return Ok(Exit::Done);
    }
    if call.verbose {
        output.note(&origin(&called(&answer, &result, elapsed)));
    }
    output::raw(format!("{result}\n").as_bytes())?;
    Ok(Exit::Done)
}

fn called<'a>(answer: &'a Answer, result: &'a RawValue, elapsed: Duration) -> Called<'a> {
    let header = |name| answer.headers.get(name).and_then(|value: &reqwest::header::HeaderValue| value.to_str().ok());
    Called {
        output: result,
        release: header(HEADER_RELEASE).and_then(|number| number.parse().ok()),
        version: header(HEADER_VERSION),
        execution_id: header(HEADER_EXECUTION),
        elapsed_ms: elapsed.as_secs_f64() * 1e3,
    }
}

/// Who gave an answer, one line each.
fn origin(called: &Called<'_>) -> String {
    let release = called.release.map_or("(not told)".to_owned(), |number| number.to_string());
    format!(
        "release    {release}\nversion    {}\nexecution  {}\nelapsed    {:.1} ms\n",
        called.version.unwrap_or("(not told)"),
        called.execution_id.unwrap_or("(not told)"),
        called.elapsed_ms
    )
}
