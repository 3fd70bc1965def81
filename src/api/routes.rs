//! Every path of the API, in one table that `openapi.json` is compared with.

use axum::{
    Router,
    extract::DefaultBodyLimit,
    handler::Handler,
    response::{IntoResponse, Response},
    routing::{MethodFilter, on},
};
use http::{HeaderValue, Method, header};

use super::{
    ApiState, audit, confirmations, exchanges,
    fields::BODY_LIMIT,
    jobs,
    problem::{Kind, Problem},
    quota_entries, quota_transfers, quotas, reload, status, tokens, units,
};

/// Where the API lives.
const PREFIX: &str = "/api/v1";

/// The document, kept by hand.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

/// The management API.
pub fn router(state: ApiState) -> Router {
    table().router.with_state(state)
}

/// A router that remembers its paths.
pub(super) struct Table {
    pub(super) paths: Vec<(Method, &'static str)>,
    router: Router<ApiState>,
}

pub(super) fn table() -> Table {
    let fallback = |uri: http::Uri| async move { Problem::not_found("path", uri.path()) };
    let table = Table { paths: Vec::new(), router: Router::new() }
        .get("/openapi.json", openapi)
        .get("/status", status::read)
        .get("/units", units::list)
        .post("/units", units::create)
        .get("/units/{tax_no}", units::read)
        .patch("/units/{tax_no}", units::update)
        .delete("/units/{tax_no}", units::delete)
        .get("/quotas", quotas::list)
        .get("/quotas/{tax_no}", quotas::read)
        .patch("/quotas/{tax_no}", quotas::update)
        .post("/quotas/{tax_no}/download", quota_transfers::download)
        .post("/quotas/{tax_no}/return", quota_transfers::give_back)
        .post("/quotas/{tax_no}/adjust-validity", quota_transfers::adjust_validity)
        .post("/quotas/{tax_no}/sync", quota_transfers::sync)
        .get("/quotas/{tax_no}/transfers", quota_transfers::list)
        .get("/quotas/{tax_no}/entries", quota_entries::list)
        .get("/quotas/{tax_no}/entries/export", quota_entries::export)
        .get("/confirmations", confirmations::list)
        .post("/confirmations", confirmations::create)
        .get("/confirmations/{id}", confirmations::read)
        .post("/confirmations/{id}/confirm", confirmations::confirm)
        .post("/confirmations/{id}/cancel", confirmations::cancel)
        .post("/confirmations/{id}/sync", confirmations::sync)
        .get("/exchanges", exchanges::list)
        .get("/exchanges/{id}", exchanges::read)
        .get("/exchanges/{id}/request", exchanges::request)
        .get("/exchanges/{id}/response", exchanges::response)
        .get("/jobs", jobs::list)
        .get("/jobs/{name}", jobs::read)
        .post("/jobs/{name}/run", jobs::run)
        .get("/audit", audit::list)
        .post("/reload", reload::reload)
        .get("/tokens", tokens::list)
        .post("/tokens", tokens::create)
        .delete("/tokens/{name}", tokens::revoke);
    let router = table
        .router
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(fallback)
        .layer(DefaultBodyLimit::max(BODY_LIMIT));
    Table { router, ..table }
}

impl Table {
    fn get<T: 'static, H: Handler<T, ApiState>>(self, path: &'static str, handler: H) -> Self {
        self.add(Method::GET, MethodFilter::GET, path, handler)
    }

    fn post<T: 'static, H: Handler<T, ApiState>>(self, path: &'static str, handler: H) -> Self {
        self.add(Method::POST, MethodFilter::POST, path, handler)
    }

    fn patch<T: 'static, H: Handler<T, ApiState>>(self, path: &'static str, handler: H) -> Self {
        self.add(Method::PATCH, MethodFilter::PATCH, path, handler)
    }

    fn delete<T: 'static, H: Handler<T, ApiState>>(self, path: &'static str, handler: H) -> Self {
        self.add(Method::DELETE, MethodFilter::DELETE, path, handler)
    }

    fn add<T: 'static, H: Handler<T, ApiState>>(
        mut self,
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        handler: H,
    ) -> Self {
        self.paths.push((method, path));
        let router = self.router.route(&format!("{PREFIX}{path}"), on(filter, handler));
        Self { router, ..self }
    }
}

/// GET `/openapi.json`; says nothing about this gateway, so it needs no token.
async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], OPENAPI).into_response()
}

async fn method_not_allowed(method: Method, uri: http::Uri) -> Problem {
    Problem::new(Kind::MethodNotAllowed, format!("{} has no {method}", uri.path()))
}
