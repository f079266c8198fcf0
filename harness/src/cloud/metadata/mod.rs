//! The metadata server: what a machine can learn about itself, at 169.254.169.254 seen from inside.
//!
//! <https://cloud.google.com/compute/docs/metadata/querying-metadata>. Who asks is told by the address the request comes
//! from. Not here: identity tokens, maintenance events, the legacy `v1beta1`.

mod tree;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State as AxumState};
use axum::response::Response;
use axum::routing::{any, get};
use http::{Method, StatusCode, header};
use serde_json::json;

use super::compute::{Compute, Path};
use super::iam::{Iam, TOKEN_SECONDS};
use super::parameters::{Parameters, path_parts};

/// Above the largest guest attribute.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long `wait_for_change` waits at most.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// Where a connection comes from; set for each by the server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

#[derive(Debug, Clone)]
struct Metadata {
    compute: Compute,
    iam: Iam,
}

/// Routes of the metadata server.
pub(super) fn router(compute: Compute, iam: Iam) -> Router {
    Router::new()
        .route("/computeMetadata/v1/{*path}", any(serve))
        .route("/computeMetadata/v1/", any(serve))
        .route("/computeMetadata/", get(root))
        .with_state(Metadata { compute, iam })
}

async fn root() -> Response {
    answer(StatusCode::OK, "application/text", "v1/\n".to_owned())
}

async fn serve(
    AxumState(metadata): AxumState<Metadata>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    if request.headers().get("metadata-flavor").is_none_or(|flavor| flavor != "Google") {
        return refuse(StatusCode::FORBIDDEN, "Missing Metadata-Flavor:Google header.");
    }
    if request.headers().contains_key("x-forwarded-for") {
        return refuse(StatusCode::FORBIDDEN, "Requests that were forwarded (X-Forwarded-For) are refused.");
    }
    let Some(instance) = metadata.instance_of(peer) else {
        let message = format!("{} is no address of an instance that runs here.", peer.ip());
        return refuse(StatusCode::FORBIDDEN, &message);
    };
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().trim_start_matches("/computeMetadata/v1/").to_owned();
    if parts.method == Method::GET {
        return metadata.get(&instance, &path, Parameters::parse(parts.uri.query())).await;
    }
    let Ok(body) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "The value is too large.");
    };
    metadata.write(&instance, &parts.method, &path, &String::from_utf8_lossy(&body))
}

impl Metadata {
    fn instance_of(&self, peer: SocketAddr) -> Option<Path> {
        let address = match peer.ip() {
            IpAddr::V4(address) => address,
            IpAddr::V6(address) => address.to_ipv4_mapped()?,
        };
        let address: Ipv4Addr = self.compute.address_of(address);
        self.compute.look(|state| state.instance_by_address(address).map(|instance| instance.path.clone()))
    }

    async fn get(&self, instance: &Path, path: &str, mut parameters: Parameters) -> Response {
        let recursive = parameters.text("recursive").is_some_and(|text| text != "false");
        let format = parameters.text("alt");
        let waits = parameters.text("wait_for_change").is_some_and(|text| text == "true");
        let last = parameters.text("last_etag");
        let timeout = parameters.value::<u64>("timeout_sec").ok().flatten().map_or(WAIT_MAX, Duration::from_secs);
        if let Some(account) = path.strip_prefix("instance/service-accounts/") {
            match account.split_once('/') {
                Some((account, "token")) => return self.token(instance, account),
                Some((_, "identity")) => {
                    return refuse(StatusCode::NOT_IMPLEMENTED, "Identity tokens are not implemented here.");
                }
                _ => {}
            }
        }
        let mut changes = self.compute.changes();
        let look = || {
            let tree = self.compute.look(|state| tree::of(state, instance))?;
            let node = tree.find(&path_parts(path.trim_end_matches('/')))?.clone();
            let etag = node.etag();
            Some((node, etag))
        };
        let Some((mut node, mut etag)) = look() else { return missing(path) };
        if waits && last.as_deref().is_none_or(|last| last == etag) {
            let before = etag.clone();
            let changed = async {
                loop {
                    changes.borrow_and_update();
                    match look() {
                        Some((node, etag)) if etag != before => return Some((node, etag)),
                        None => return None,
                        Some(_) if changes.changed().await.is_err() => return None,
                        Some(_) => {}
                    }
                }
            };
            match tokio::time::timeout(timeout.min(WAIT_MAX), changed).await {
                Ok(Some(found)) => (node, etag) = found,
                Ok(None) => return missing(path),
                // Time is over: it is told as it is.
                Err(_) => {}
            }
        }
        if node.is_folder() && !path.is_empty() && !path.ends_with('/') && !recursive {
            let mut moved = answer(StatusCode::MOVED_PERMANENTLY, "text/html", String::new());
            if let Ok(place) = format!("/computeMetadata/v1/{path}/").parse() {
                moved.headers_mut().insert(header::LOCATION, place);
            }
            return moved;
        }
        let json = format.as_deref() == Some("json") || (recursive && format.as_deref() != Some("text"));
        let (kind, text) = match (json, recursive) {
            (true, _) => ("application/json", node.json().to_string()),
            (false, true) => ("application/text", node.lines()),
            (false, false) => ("application/text", node.text()),
        };
        let mut told = answer(StatusCode::OK, kind, text);
        if let Ok(etag) = etag.parse() {
            told.headers_mut().insert(header::ETAG, etag);
        }
        told
    }

    fn token(&self, instance: &Path, account: &str) -> Response {
        let own = self.compute.look(|state| tree::account_of(state, instance));
        let Some(own) = own.filter(|own| account == "default" || account == own) else {
            return missing(&format!("instance/service-accounts/{account}/token"));
        };
        let token =
            json!({ "access_token": self.iam.token(&own), "expires_in": TOKEN_SECONDS, "token_type": "Bearer" });
        answer(StatusCode::OK, "application/json", token.to_string())
    }

    /// Only guest attributes can be written, and only if the instance's metadata allow it.
    fn write(&self, instance: &Path, method: &Method, path: &str, value: &str) -> Response {
        let name = path.strip_prefix("instance/guest-attributes/").and_then(|name| name.split_once('/'));
        let Some((namespace, key)) = name.filter(|(namespace, key)| !namespace.is_empty() && !key.is_empty()) else {
            return refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "Only instance/guest-attributes/NAMESPACE/KEY can be written.",
            );
        };
        if key.contains('/') {
            return refuse(StatusCode::BAD_REQUEST, "A guest attribute has a namespace and a key, no more.");
        }
        if !self.compute.look(|state| tree::allows_guest_attributes(state, instance)) {
            return refuse(
                StatusCode::FORBIDDEN,
                "Guest attributes are off: the metadata `enable-guest-attributes` must be TRUE.",
            );
        }
        let done = self.compute.step(|state, _| match *method {
            Method::PUT => state.guest.put(instance, namespace, key, value),
            Method::DELETE => state.guest.delete(instance, namespace, key),
            _ => false,
        });
        match (method, done) {
            (_, true) => answer(StatusCode::OK, "application/text", String::new()),
            (&Method::PUT, false) => refuse(StatusCode::BAD_REQUEST, "The value is too large, or there are too many."),
            (&Method::DELETE, false) => missing(path),
            _ => refuse(StatusCode::METHOD_NOT_ALLOWED, "Guest attributes take PUT and DELETE."),
        }
    }
}

fn missing(path: &str) -> Response {
    refuse(StatusCode::NOT_FOUND, &format!("There is no metadata entry `{path}`."))
}

fn refuse(status: StatusCode, message: &str) -> Response {
    answer(status, "text/html; charset=UTF-8", format!("{message}\n"))
}

fn answer(status: StatusCode, kind: &str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("metadata-flavor", header::HeaderValue::from_static("Google"));
    headers.insert(header::SERVER, header::HeaderValue::from_static("Metadata Server for VM"));
    if let Ok(kind) = kind.parse() {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    response
}
