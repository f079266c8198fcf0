//! Who may call: whoever shows the token.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use contract::{Code, Problem};

use super::Api;
use super::error::ApiError;

/// Lets a request through that shows the token, or any if there is none.
pub(super) async fn check(State(api): State<Api>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    if api.token.as_ref().is_none_or(|token| token.is_shown_in(shown)) {
        return next.run(request).await;
    }
    let (detail, hint) = match shown {
        None => ("no token was shown", "send `authorization: Bearer TOKEN`; `moonswarm --token-file FILE` does"),
        Some(_) => ("the token is not the one this manager was started with", "look at the manager's --token-file"),
    };
    let problem = ApiError::from(Problem::new(Code::Unauthenticated, detail).with_hint(hint));
    ([(WWW_AUTHENTICATE, "Bearer")], problem).into_response()
}
